"""The nightly job: Spark and storage, one stage a file; ``jobs/nightly.py`` is the contents."""
