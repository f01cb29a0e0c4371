"""What spark-submit starts: the command ``nightly``. The night itself is ``jobs/night``."""

import sys

from jobs.cli.nightly import nightly

if __name__ == "__main__":
    sys.exit(nightly())
