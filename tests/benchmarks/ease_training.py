"""``train_ease`` on goodbooks-10k (users of 10 ratings or more): its curve, and ``implicit``'s ALS.

    ./spark-submit.sh bench ease_vs_implicit
    PYTHONPATH=.:tests python -m benchmarks.ease_training [SEEDS]

The second prints the curve over ranks: NDCG@10 of each setting, seconds to train and to score all
users.
"""

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from benchmarks.als_training import DATA, Setting, make_implicit, measure_ndcg, read_goodbooks
from benchmarks.timing import Comparison, compare
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_core.ease import train_ease
from recsys_core.factor_model import TrainedModel
from recsys_core.metrics import rank_users
from recsys_core.seen import mark_seen
from recsys_core.splits import Split, hold_out_at_random

RANKS = (64, 128, 256, 512, 1024)
REGULARIZATION = (20.0, 50.0, 100.0)
EXPONENTS = (0.0, 0.25, 0.5, 0.6)
IMPLICIT = (Setting(128, 50.0, 20.0), 15)
"""Its setting and iterations: the best NDCG@10 of those tried of ``benchmarks.als_training``."""


@dataclass(frozen=True)
class Point:
    """One setting of the curve."""

    n_factors: int
    popularity_exponent: float
    regularization: float
    ndcg: float
    train_seconds: float
    score_seconds: float
    """Folding in and ranking all users, k = 10."""


def train(split: Split, n_factors: int, exponent: float, regularization: float) -> TrainedModel:
    return train_ease(
        split.train,
        n_factors=n_factors,
        regularization=regularization,
        popularity_exponent=exponent,
        seed=0,
        device="cpu",
    )


def measure_curve(ratings: csr_matrix, seed: int) -> Iterator[Point]:
    """Every setting on one split of 80/20 for each user."""
    split = hold_out_at_random(ratings, fraction=0.2, seed=seed)
    for setting in itertools.product(RANKS, EXPONENTS, REGULARIZATION):
        started = time.perf_counter()
        model = train(split, *setting).model
        trained = time.perf_counter()
        rank_users(model, split.known, 10)
        scored = time.perf_counter()
        ndcg = measure_ndcg(model.fold_in(split.known), model.item_factors, split)
        yield Point(*setting, ndcg, trained - started, scored - trained)


def vs_implicit(runs: int) -> Comparison:
    """Rank 256 against ``implicit`` with 128 factors; exact where our NDCG@10 is higher."""
    split = hold_out_at_random(read_goodbooks(DATA), fraction=0.2, seed=0)
    seen = mark_seen(split.train)
    results: dict[str, Any] = {}

    def train_ours() -> None:
        results["ours"] = train(split, 256, 0.5, 20.0).model

    def train_peer() -> None:
        setting, iterations = IMPLICIT
        results["peer"] = make_implicit(setting, iterations, 0)
        with threadpool_limits(1, user_api="blas"):  # its own threads are enough
            results["peer"].fit(seen, show_progress=False)

    timed = compare(train_ours, train_peer, runs=runs, exact=True, warm_up=False)
    ours, peer = results["ours"], results["peer"]
    scores = (
        measure_ndcg(ours.fold_in(split.known), ours.item_factors, split),
        measure_ndcg(peer.user_factors, peer.item_factors, split),
    )
    print(f"NDCG@10 {scores[0]:.4f}, of implicit {scores[1]:.4f}")
    return replace(timed, exact=scores[0] > scores[1])


def main(n_seeds: int) -> None:
    ratings = read_goodbooks(DATA)
    print(ratings.shape, ratings.nnz)
    for points in zip(*(measure_curve(ratings, seed) for seed in range(n_seeds)), strict=True):
        first, scores = points[0], [point.ndcg for point in points]
        print(
            f"rank {first.n_factors}, exponent {first.popularity_exponent:g}, "
            f"lambda {first.regularization:g}: NDCG@10 {np.mean(scores):.4f}, "
            f"trained in {first.train_seconds:.2f} s, scored in {first.score_seconds:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
