"""The figures that the page states and draws: computed, and plain data of a bounded size."""
