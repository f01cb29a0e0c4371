"""One night, from ratings to published Parquet; ``night`` is its table of contents."""
