"""Public ratings and the built-in sample, as files for a night."""
