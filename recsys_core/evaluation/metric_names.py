"""The names of all metrics, in the order they are shown in. ``metrics`` says what each one is."""

from typing import Final

RANKING_METRICS: Final = ("ndcg", "recall", "precision", "map", "mrr", "hit_rate")
"""How good a user's list is, at each cutoff."""
CATALOGUE_METRICS: Final = ("popularity", "full_lists", "coverage")
"""What the lists are made of, at each cutoff."""
PREDICTION_METRICS: Final = ("rmse", "mae")
"""Errors of predicted ratings: without a cutoff, and less is better."""
UNIT_METRICS: Final = (*RANKING_METRICS, "coverage")
"""Those that say how good lists are from 0 to 1, where more is better: they can share an axis."""
