"""Small inputs for tests."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs.settings.config import Config
from jobs.storage.base import Storage
from jobs.storage.hadoop import HadoopStorage
from jobs.storage.local import LocalStorage

HEADER = "userId,movieId,rating,timestamp"

STORAGES: dict[str, Callable[[SparkSession, Path], Storage]] = {
    "local": lambda _spark, root: LocalStorage(root),
    "hadoop": lambda spark, root: HadoopStorage(spark, root.as_uri()),
}
"""Each kind of output, in a directory of this machine."""


def make_config(ratings: Path | str, output: Path | str = "unused", **sections: Any) -> Config:
    """Settings for a test: what it does not say is the default, but that nights make no report."""
    values: dict[str, Any] = {
        "input": {"ratings": str(ratings), **sections.pop("input", {})},
        "output": {"path": str(output)},
        "publish": {"report": False, **sections.pop("publish", {})},
        **sections,
    }
    return Config.model_validate(values)


def write_csv(path: Path, lines: Iterable[str], header: str = HEADER) -> Path:
    """A CSV file of these lines below a header."""
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def checkerboard(n_users: int = 12, n_items: int = 12) -> list[str]:
    """Rating lines of two groups of users who rate the items of their own group with 5.

    Even users like even items, odd users odd ones; of its own group each user has rated all but
    two items, which are therefore the right recommendations.
    """
    lines = []
    for user in range(n_users):
        own = [item for item in range(n_items) if item % 2 == user % 2]
        left_out = {own[user % len(own)], own[(user + 1) % len(own)]}
        lines += [f"{user},{item},5.0,{item}" for item in own if item not in left_out]
    return lines
