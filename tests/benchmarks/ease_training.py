"""``train_ease`` on goodbooks-10k (users of 10 ratings or more): its curve, and ``implicit``'s ALS.

    ./spark-submit.sh bench ease_vs_implicit
    ./spark-submit.sh bench ease_ranks

The second prints the curve over ranks: NDCG@10, seconds to train and to score all users.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from benchmarks.als_training import DATA, Setting, make_implicit, measure_ndcg, read_goodbooks
from benchmarks.timing import Comparison, Row, compare
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_core.evaluation.metrics import rank_users
from recsys_core.evaluation.splits import Split, hold_out_at_random
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.ease import train_ease
from recsys_core.sparse import mark_seen

RANKS = (64, 128, 256, 512, 1024)
SETTINGS: dict[str, Any] = {
    "regularization": 5.0,
    "popularity_exponent": 0.25,
    "activity_exponent": 0.25,
    "power_iterations": 2,
    "scaling": "length",
}
IMPLICIT = (Setting(256, 50.0, 20.0), 3)
"""Its setting and iterations: the best NDCG@10 of those tried of ``benchmarks.als_training``."""


@dataclass(frozen=True)
class Point:
    """One rank of the curve."""

    n_factors: int
    ndcg: float
    train_seconds: float
    score_seconds: float
    """Folding in and ranking all users, k = 10."""


def train(split: Split, n_factors: int) -> ItemModel:
    return train_ease(split.train, n_factors=n_factors, seed=0, device="cpu", **SETTINGS).model


def measure_curve(ratings: csr_matrix, seed: int) -> Iterator[Point]:
    """Every rank on one split of 80/20 for each user."""
    split = hold_out_at_random(ratings, fraction=0.2, seed=seed)
    for n_factors in RANKS:
        started = time.perf_counter()
        model = train(split, n_factors)
        trained = time.perf_counter()
        rank_users(model, split.known, 10)
        scored = time.perf_counter()
        ndcg = measure_ndcg(model.fold_in(split.known), model.item_factors, split)
        yield Point(n_factors, ndcg, trained - started, scored - trained)


def tabulate_curve() -> Iterator[Row]:
    """Means of three seeds on goodbooks-10k."""
    ratings = read_goodbooks(DATA)
    for points in zip(*(measure_curve(ratings, seed) for seed in range(3)), strict=True):
        yield {
            "rank": points[0].n_factors,
            "NDCG@10": float(np.mean([point.ndcg for point in points])),
            "train, s": float(np.mean([point.train_seconds for point in points])),
            "score, s": float(np.mean([point.score_seconds for point in points])),
        }


def vs_implicit(runs: int) -> Comparison:
    """Rank 256 against ``implicit`` at its best; exact where our NDCG@10 is higher."""
    split = hold_out_at_random(read_goodbooks(DATA), fraction=0.2, seed=0)
    seen = mark_seen(split.train)
    results: dict[str, Any] = {}

    def train_ours() -> None:
        results["ours"] = train(split, 256)

    def train_peer() -> None:
        setting, iterations = IMPLICIT
        results["peer"] = make_implicit(setting, iterations, 0)
        with threadpool_limits(1, user_api="blas"):  # its own threads are enough
            results["peer"].fit(seen, show_progress=False)

    timed = compare(train_ours, train_peer, runs=runs, exact=True)
    ours, peer = results["ours"], results["peer"]
    scores = (
        measure_ndcg(ours.fold_in(split.known), ours.item_factors, split),
        measure_ndcg(peer.user_factors, peer.item_factors, split),
    )
    print(f"NDCG@10 {scores[0]:.4f}, of implicit {scores[1]:.4f}")
    return replace(timed, exact=scores[0] > scores[1])
