"""The scores and lengths of the lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from jobs.report.counting.aggregations import SCORE_BINS

_MAX_LENGTHS = 50


@dataclass(frozen=True)
class ScoreBin:
    """How many places of the lists have a score in a range."""

    low: float
    high: float
    first: int
    """Of rank 1."""
    other: int


@dataclass(frozen=True)
class LengthBin:
    """How many users have a list of a length in a range."""

    shortest: int
    longest: int
    users: int


def score_range(manifest: Mapping[str, Any]) -> tuple[float, float] | None:
    """Lowest and highest score of the model's rows; None where it has none."""
    low, high = manifest["audit"]["min_score"], manifest["audit"]["max_score"]
    return None if low is None or high is None else (low, high)


def count_scores(places: pd.DataFrame, limits: tuple[float, float] | None) -> list[ScoreBin]:
    """The places of the lists by bins of equal width between ``limits``."""
    if limits is None:
        return []
    low, high = limits
    known = places[places["score_bin"] >= 0]
    first = known["rank"] == 1
    width = (high - low) / SCORE_BINS

    def count(rows: pd.DataFrame) -> list[int]:
        by_bin = rows.groupby("score_bin")["rows"].sum()
        return [int(n) for n in by_bin.reindex(range(SCORE_BINS), fill_value=0).tolist()]

    return [
        ScoreBin(low + place * width, low + (place + 1) * width, ones, others)
        for place, (ones, others) in enumerate(
            zip(count(known[first]), count(known[~first]), strict=True)
        )
    ]


def count_lengths(places: pd.DataFrame, without_list: int) -> list[LengthBin]:
    """Users by the length of their list; a list of n has one row of each rank up to n."""
    at_least = places.groupby("rank")["rows"].sum().sort_index()
    longest = int(at_least.index.max()) if len(at_least) else 0
    reached = at_least.reindex(range(1, longest + 2), fill_value=0).to_numpy()
    users = np.concatenate([[without_list], reached[:-1] - reached[1:]])
    step = -(-longest // _MAX_LENGTHS) or 1
    starts = [0, *range(1, longest + 1, step)]
    ends = [0, *(min(start + step - 1, longest) for start in starts[1:])]
    return [
        LengthBin(start, end, int(users[start : end + 1].sum()))
        for start, end in zip(starts, ends, strict=True)
        if start or without_list
    ]
