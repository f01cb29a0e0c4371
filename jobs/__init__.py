"""The nightly job: Spark and storage, one stage a file.

``jobs/nightly.py`` is the table of contents. The ``night_*.py`` put stages together, which do not
know each other.
"""
