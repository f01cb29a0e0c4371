"""A published night that several test files look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SampleNight:
    """A run, mostly on a small built-in sample: where its data and output are."""

    data: Path
    output: Path
    manifest: dict[str, Any]
