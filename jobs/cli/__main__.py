"""What ``python -m jobs.cli`` runs."""

import logging

from jobs.cli.main import main

if __name__ == "__main__":
    logging.captureWarnings(True)
    main(prog_name="spark-submit.sh")
