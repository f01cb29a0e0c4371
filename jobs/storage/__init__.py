"""Files of an output, on a disk or a Hadoop file system."""
