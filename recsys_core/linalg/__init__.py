"""Linear algebra for many small systems, one for each user."""
