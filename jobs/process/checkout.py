"""Where the checkout is that this code runs from."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Holds ``conf/`` and ``spark-submit.sh``; where the code is installed or zipped, it does not."""
CONF = ROOT / "conf"
