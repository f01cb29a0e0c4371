"""The figures of the page, each with what it is computed from: plain data of a bounded size."""
