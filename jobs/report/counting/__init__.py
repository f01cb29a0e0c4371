"""A run counted for its report, once: by Spark in the night, or from its files."""
