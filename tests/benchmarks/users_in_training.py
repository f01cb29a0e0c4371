"""How many users a model has to be trained on: NDCG@10 of others, who are folded in.

    ./spark-submit.sh bench users_in_training

The measured users are the same for every share, and are never trained on. Half of the ratings of
each are known. A larger share of the training users holds all of the smaller ones. Settings are the
same for every share, as they are for a night that sets ``train.max_users``.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from benchmarks.als_training import DATA, read_goodbooks
from benchmarks.list_quality import Settings, measure_model, train
from benchmarks.timing import MISSING, Row, pass_over
from benchmarks.training_scale import SIZES, draw_matrix
from scipy.sparse import csr_matrix

from recsys_core.evaluation.splits import Split, hold_out_users

SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
MEASURED_USERS = 5_000
_SLIM = {
    "neighbours": 50,
    "activity_exponent": 0.25,
    "popularity_exponent": 0.0,
    "rating_weight": 0.2,
}


@dataclass(frozen=True)
class Curve:
    """Ratings, and the settings of each model trained on them."""

    read: Callable[[], csr_matrix]
    models: dict[str, Settings]


CURVES = {
    "goodbooks-10k": Curve(
        lambda: read_goodbooks(DATA),
        {
            "slim": {**_SLIM, "regularization": 30.0},
            "als": {
                "n_factors": 64,
                "iterations": 5,
                "regularization": 2.5,
                "unobserved_weight": 1 / 19,
                "frequency_exponent": 0.0,
            },
        },
    ),
    "generated, 200,000 users": Curve(
        lambda: draw_matrix(max(SIZES)),
        {
            "slim": {**_SLIM, "regularization": 100.0},
            "als": {
                "n_factors": 64,
                "iterations": 5,
                "regularization": 0.003,
                "unobserved_weight": 0.1,
                "frequency_exponent": 1.0,
            },
        },
    ),
}


def tabulate_users() -> Iterator[Row]:
    for name, curve in CURVES.items():
        try:
            ratings = curve.read()
        except MISSING as error:
            yield pass_over(error, data=name)
            continue
        yield from ({"data": name, **row} for row in follow_shares(ratings, curve.models))


def follow_shares(ratings: csr_matrix, models: dict[str, Settings]) -> Iterator[Row]:
    """Every share of the users who are not measured, and every model that there is."""
    n_users = ratings.shape[0]
    fraction = min(0.2, MEASURED_USERS / n_users)
    split = hold_out_users(ratings, fraction=fraction, known_fraction=0.5, seed=0)
    order = np.random.default_rng(0).permutation(split.train.shape[0])
    best: dict[str, float] = {}
    for share in reversed(SHARES):  # that of all users first: the others are held against it
        rows = np.sort(order[: max(1, round(share * len(order)))])
        for kind in models:
            ndcg, seconds = _train_on(split, rows, kind, models[kind])
            best.setdefault(kind, ndcg)
            yield {
                "model": kind,
                "users": len(rows),
                "NDCG@10": ndcg,
                "of all users'": ndcg / best[kind],
                "train, s": seconds,
            }


def _train_on(split: Split, rows: np.ndarray, kind: str, settings: Settings) -> tuple[float, float]:
    """NDCG@10 and seconds of a training on some of the users."""
    part = split.train[rows]
    started = time.perf_counter()
    model = train(kind, part, settings, 0)
    seconds = time.perf_counter() - started
    return measure_model(model, split).any, seconds
