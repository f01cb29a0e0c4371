"""The commands behind ``./spark-submit.sh``: a file a group, each importing what it runs."""
