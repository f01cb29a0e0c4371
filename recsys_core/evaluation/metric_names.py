"""The names of all metrics, in the order they are shown in.

``metrics`` says what those of good lists and predictions are, ``list_makeup`` the others.
"""

from itertools import chain
from typing import Final

RANKING_METRICS: Final = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate")
"""How good a user's list is, at each cutoff: every relevant held-out rating counts."""
LIKED: Final = "liked_"
"""Before the name of a ranking metric: what the user rated high alone counts."""
LIKED_METRICS: Final = tuple(LIKED + name for name in RANKING_METRICS)
CATALOGUE_METRICS: Final = (
    *("popularity", "novelty", "tail_share", "diversity", "full_lists"),
    *("coverage", "gini"),
)
"""What the lists are made of, at each cutoff."""
PREDICTION_METRICS: Final = ("rmse", "mae")
"""Errors of predicted ratings: without a cutoff, and less is better."""
QUALITY_METRICS: Final = tuple(
    chain.from_iterable(zip(RANKING_METRICS, LIKED_METRICS, strict=True))
)
"""Each ranking metric, and beside it the same of what was liked."""
UNIT_METRICS: Final = (*QUALITY_METRICS, "coverage")
"""Those that say how good lists are from 0 to 1, where more is better: they can share an axis."""


def split_liked(metric: str) -> tuple[str, bool]:
    """The ranking metric behind a name, and whether what was liked alone counts."""
    return metric.removeprefix(LIKED), metric.startswith(LIKED)
