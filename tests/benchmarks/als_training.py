"""``train_als`` against the package ``implicit``: seconds an iteration, and lists on real ratings.

    ./spark-submit.sh bench als_iteration_vs_implicit
    PYTHONPATH=.:tests OPENBLAS_NUM_THREADS=1 python -m benchmarks.als_training [SEEDS]

The second searches one grid for both, and one in the form with frequencies for ours, on
ml-latest-small (items with more than 20 ratings) and goodbooks-10k (users with 10 ratings or more).
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.timing import Comparison, compare
from scipy.sparse import csr_matrix, load_npz, vstack
from threadpoolctl import threadpool_limits

from recsys_core.arrays import Float32Array
from recsys_core.evaluation.metrics import measure_lists
from recsys_core.evaluation.splits import Split, hold_out_at_random, hold_out_users
from recsys_core.linalg.weighted_ridge import Penalty
from recsys_core.models.als import AlsModel, draw_start, iterate, make_sides, train_als
from recsys_core.ranking.top_k import TopKScorer

DATA = Path(os.environ.get("RECSYS_DATA", Path(__file__).parents[3] / "shared" / "data"))
N_FACTORS = (16, 32, 64, 128)
REGULARIZATION = (0.01, 1.0, 3.0, 10.0, 30.0, 50.0)
ALPHA = (2.0, 3.0, 5.0, 10.0, 20.0, 40.0)
ITERATIONS = (5, 10, 15, 30)
SCALED_L2 = (0.003, 0.006, 0.01, 0.02, 0.03)
UNOBSERVED_WEIGHT = (0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Setting:
    """A point of the grid, as ``implicit`` names it."""

    n_factors: int
    regularization: float
    alpha: float

    @property
    def penalty(self) -> Penalty:
        """The same objective here; see ``recsys_core.models.als``."""
        return Penalty(self.regularization / self.alpha, 1 / (self.alpha - 1), 0.0)


def read_movielens(data: Path) -> csr_matrix:
    """ml-latest-small, items with more than 20 ratings."""
    ratings = pd.read_csv(data / "ml-latest-small" / "ratings.csv")
    counts = ratings["movieId"].map(ratings["movieId"].value_counts())
    return _index(ratings.loc[counts > 20, ["userId", "movieId", "rating"]])


def read_goodbooks(data: Path, min_user_ratings: int = 10) -> csr_matrix:
    """goodbooks-10k, users with 10 ratings or more; of several of a pair the highest."""
    ratings = pd.read_csv(data / "goodbooks-10k" / "ratings.csv")
    ratings = ratings[["user_id", "book_id", "rating"]].sort_values("rating")
    ratings = ratings.drop_duplicates(["user_id", "book_id"], keep="last")
    counts = ratings["user_id"].map(ratings["user_id"].value_counts())
    return _index(ratings[counts >= min_user_ratings])


def read_gowalla(data: Path) -> Split:
    """Gowalla's published split: 1 where a user checked in at a place; users with test items."""
    train, test = (
        csr_matrix(load_npz(data / "gowalla" / f"gowalla_{part}.npz"), dtype=np.float32)
        for part in ("train", "test")
    )
    for part in (train, test):
        part.sort_indices()
    users = np.flatnonzero(np.diff(test.indptr) > 0)
    return Split(train, train[users], test[users])


def _index(ratings: pd.DataFrame) -> csr_matrix:
    user, item, rating = (ratings[column] for column in ratings.columns)
    rows, columns = (pd.factorize(ids, sort=True)[0] for ids in (user, item))
    matrix = csr_matrix((rating.to_numpy(np.float32), (rows, columns)))
    matrix.sort_indices()
    return matrix


def measure_ndcg(users: Float32Array, items: Float32Array, split: Split) -> float:
    """NDCG@10 over all items not known; a row of ``users`` for each of ``split.known``."""
    lists = TopKScorer(items, 10).rank(users, split.known)
    measures = measure_lists(lists, split.held_out, [10])
    return next(each.value for each in measures if each.metric == "ndcg")


def follow_ours(
    split: Split, n_factors: int, penalty: Penalty, seed: int, iterations: Sequence[int]
) -> list[float]:
    """NDCG@10 after each of ``iterations``, users folded in."""
    by_user, by_item = make_sides(split.train, penalty, "cpu")
    items, measured = draw_start(split.train.shape[1], n_factors, seed), []
    for iteration in range(1, max(iterations) + 1):
        items, _ = iterate(by_user, by_item, items)
        if iteration in iterations:
            users = AlsModel(items, penalty).fold_in(split.known)
            measured.append(measure_ndcg(users, items, split))
    return measured


def make_implicit(setting: Setting, iterations: int, seed: int) -> Any:
    from implicit.als import AlternatingLeastSquares

    return AlternatingLeastSquares(
        setting.n_factors,
        regularization=setting.regularization,
        alpha=setting.alpha,
        iterations=iterations,
        num_threads=len(os.sched_getaffinity(0)),
        random_state=seed,
    )


def follow_implicit(
    split: Split,
    setting: Setting,
    seed: int,
    iterations: Sequence[int],
    measure_factors: Callable[[Float32Array, Float32Array, Split], Any] = measure_ndcg,
) -> list[Any]:
    """NDCG@10 after each of ``iterations``, with the factors it has of the users then."""
    # It has factors of those who were trained on: all of them must be measured.
    assert split.known.shape == split.train.shape
    peer, measured = make_implicit(setting, max(iterations), seed), []

    def measure(iteration: int, *_: object) -> None:
        if iteration + 1 in iterations:
            measured.append(measure_factors(peer.user_factors, peer.item_factors, split))

    with threadpool_limits(1, user_api="blas"):  # its own threads are enough
        peer.fit(_forget_values(split.train), show_progress=False, callback=measure)
    return measured


def _forget_values(ratings: csr_matrix) -> csr_matrix:
    ones = np.ones(ratings.nnz, np.float32)
    return csr_matrix((ones, ratings.indices, ratings.indptr), ratings.shape)


def compare_best(
    splits: Sequence[Split], settings: Iterable[Setting], iterations: Sequence[int]
) -> tuple[float, float]:
    """The best mean NDCG@10 over the splits of any setting and iteration: ours, then implicit's."""
    means: tuple[list[float], list[float]] = ([], [])
    for setting in settings:
        ours, peer = (
            np.mean([follow(split, seed) for seed, split in enumerate(splits)], axis=0)
            for follow in _follow_both(setting, iterations)
        )
        print(setting, "ours", ours.round(4), "implicit", peer.round(4), flush=True)
        means[0].extend(ours)
        means[1].extend(peer)
    return max(means[0]), max(means[1])


def _follow_both(
    setting: Setting, iterations: Sequence[int]
) -> tuple[Callable[[Split, int], list[float]], Callable[[Split, int], list[float]]]:
    def ours(split: Split, seed: int) -> list[float]:
        return follow_ours(split, setting.n_factors, setting.penalty, seed, iterations)

    def peer(split: Split, seed: int) -> list[float]:
        return follow_implicit(split, setting, seed, iterations)

    return ours, peer


def compare_new_users(
    ratings: csr_matrix, settings: dict[str, Any], seed: int
) -> tuple[float, float]:
    """NDCG@10 of users folded in from half of their ratings: not trained on, and trained on."""
    new = hold_out_users(ratings, fraction=0.2, known_fraction=0.5, seed=seed)
    both = vstack([new.train, new.known], format="csr")
    measured = []
    for train in (new.train, both):
        model = train_als(train, seed=seed, device="cpu", **settings).model
        measured.append(measure_ndcg(model.fold_in(new.known), model.item_factors, new))
    return measured[0], measured[1]


def iteration_vs_implicit(runs: int) -> Comparison:
    """An iteration on all of goodbooks-10k with 64 factors, from trainings of ten.

    Exact where the objective of our factors is no higher than that of theirs.
    """
    ratings, setting, iterations = (
        _forget_values(read_goodbooks(DATA, min_user_ratings=1)),
        Setting(64, 10.0, 10.0),
        10,
    )
    results: dict[str, Any] = {}

    def train_ours() -> None:
        results["ours"] = train_als(
            ratings,
            n_factors=setting.n_factors,
            iterations=iterations,
            regularization=setting.penalty.regularization,
            unobserved_weight=setting.penalty.unobserved_weight,
            frequency_exponent=0.0,
            seed=0,
            device="cpu",
        )

    def train_peer() -> None:
        results["peer"] = make_implicit(setting, iterations, 0)
        results["peer"].fit(ratings, show_progress=False)

    with threadpool_limits(1, user_api="blas"):
        timed = compare(train_ours, train_peer, runs=runs, exact=True)
    # Its scores are 1 + w times ours, a factor shared by both sides.
    shared = np.sqrt(1 + setting.penalty.unobserved_weight)
    peer = (results["peer"].user_factors / shared, results["peer"].item_factors / shared)
    exact = results["ours"].losses[-1] <= measure_objective(*peer, ratings, setting.penalty)
    return replace(
        timed, ours=timed.ours / iterations, peer=timed.peer / iterations, exact=bool(exact)
    )


def measure_objective(
    users: Float32Array, items: Float32Array, ratings: csr_matrix, penalty: Penalty
) -> float:
    """The objective of ``recsys_core.models.als`` with nu = 0, of any factors."""
    rows = np.repeat(np.arange(len(users)), np.diff(ratings.indptr))
    scores = np.einsum("rf,rf->r", users[rows], items[ratings.indices])
    rated = np.square(1 - scores, dtype=np.float64).sum()
    wide = users.astype(np.float64), items.astype(np.float64)
    pairs = np.sum((wide[0].T @ wide[0]) * (wide[1].T @ wide[1]))
    norms = sum(np.sum(each**2) for each in wide)
    return float(rated + penalty.unobserved_weight * pairs + penalty.regularization * norms)


def main(n_seeds: int) -> None:
    for read in (read_movielens, read_goodbooks):
        ratings = read(DATA)
        splits = [hold_out_at_random(ratings, fraction=0.2, seed=seed) for seed in range(n_seeds)]
        print(read.__doc__, ratings.shape, ratings.nnz)
        grid = (Setting(*point) for point in itertools.product(N_FACTORS, REGULARIZATION, ALPHA))
        print("best of ours, of implicit:", compare_best(splits, grid, ITERATIONS))
        for n_factors, *weights in itertools.product(N_FACTORS, SCALED_L2, UNOBSERVED_WEIGHT):
            penalty = Penalty(*weights, 1.0)
            each = [
                follow_ours(split, n_factors, penalty, seed, ITERATIONS)
                for seed, split in enumerate(splits)
            ]
            print(n_factors, penalty, np.mean(each, axis=0).round(4), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
