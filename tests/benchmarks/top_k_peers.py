"""The top-k kernel against the matrix product alone and against what a user would take instead.

Factors are drawn from a normal distribution, which leaves nothing to skip; every user has seen 20
to 200 items. One thread on every side.

    ./spark-submit.sh bench slim_scoring

holds the sparse part of a model against that kernel: alone, and on top of the factors. There every
user has rated 100 items, and neighbours and ratings have one long tail.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from benchmarks.timing import Comparison, Row, compare, time_once
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.model_form.rating_weights import RatingWeights
from recsys_core.ranking.sparse_top_k import SparseTopKScorer
from recsys_core.ranking.top_k import USERS_PER_BLOCK, TopKScorer, choose_width

CHECKED_USERS = 256


@dataclass(frozen=True)
class Problem:
    """Users and items to rank, and what each user has seen."""

    users: np.ndarray
    items: np.ndarray
    seen: csr_matrix
    k: int

    @classmethod
    def draw(cls, n_users: int, n_items: int, n_factors: int, k: int, seed: int = 0) -> "Problem":
        rng = np.random.default_rng(seed)
        users, items = (
            rng.standard_normal((n, n_factors)).astype(np.float32) for n in (n_users, n_items)
        )
        counts = rng.integers(20, 201, n_users)
        columns = [np.sort(rng.choice(n_items, count, replace=False)) for count in counts]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        ones = np.ones(indptr[-1], dtype=np.float32)
        seen = csr_matrix((ones, np.concatenate(columns), indptr), shape=(n_users, n_items))
        return cls(users, items, seen, k)

    def is_exact(self) -> bool:
        """Whether our lists are those of a float64 sort, ties to the lower index."""
        part = slice(0, CHECKED_USERS)
        lists = TopKScorer(self.items, self.k).rank(self.users[part], self.seen[part])
        scores = self.users[part].astype(np.float64) @ self.items.T.astype(np.float64)
        scores[self.seen[part].nonzero()] = -np.inf
        expected = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        return bool(np.array_equal(lists.item_index.reshape(expected.shape), expected))


@contextmanager
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def against(
    peer: Callable[[Problem], Callable[[], object]],
    n_items: int = 26_744,
    n_factors: int = 64,
    k: int = 10,
    n_users: int = 2_304,
) -> Callable[[int], Comparison]:
    """A benchmark of our kernel against ``peer``, which prepares itself for a problem."""

    def run(runs: int) -> Comparison:
        problem = Problem.draw(n_users, n_items, n_factors, k)
        scorer = TopKScorer(problem.items, problem.k)
        with one_thread():
            return compare(
                lambda: scorer.rank(problem.users, problem.seen),
                peer(problem),
                runs=5 * runs,  # each takes a fraction of a second
                exact=problem.is_exact(),
            )

    return run


def matrix_product(problem: Problem) -> Callable[[], object]:
    """All scores in float32, block by block into one buffer, in the fastest of some shapes."""

    def prepare(n_rows: int, width: int) -> Callable[[], object]:
        starts = range(0, len(problem.items), width)
        blocks = [np.ascontiguousarray(problem.items[at : at + width].T) for at in starts]
        buffer = np.empty((n_rows, width), dtype=np.float32)
        last = np.empty((n_rows, blocks[-1].shape[1]), dtype=np.float32)

        def multiply() -> None:
            for row in range(0, len(problem.users), n_rows):
                part = problem.users[row : row + n_rows]
                for block in blocks[:-1]:
                    np.dot(part, block, out=buffer[: len(part)])
                np.dot(part, blocks[-1], out=last[: len(part)])

        return multiply

    shapes = [(USERS_PER_BLOCK, choose_width(len(problem.items))), (256, 448), (256, 2_048)]
    candidates = [prepare(*shape) for shape in shapes]
    return min(candidates, key=lambda candidate: min(time_once(candidate) for _ in range(3)))


def implicit_topk(problem: Problem) -> Callable[[], object]:
    """``implicit.cpu.topk`` with its filter of seen items."""
    from implicit.cpu.topk import topk

    return lambda: topk(
        problem.items,
        problem.users,
        problem.k,
        filter_query_items=problem.seen,
        num_threads=1,
    )


def argpartition(problem: Problem) -> Callable[[], object]:
    """numpy: product into a buffer, seen items masked, partition, sort of the k best."""
    scores = np.empty((USERS_PER_BLOCK, len(problem.items)), dtype=np.float32)
    transposed = np.ascontiguousarray(problem.items.T)

    def rank() -> None:
        for row in range(0, len(problem.users), USERS_PER_BLOCK):
            part = slice(row, row + USERS_PER_BLOCK)
            np.dot(problem.users[part], transposed, out=scores)
            scores[problem.seen[part].nonzero()] = -np.inf
            best = np.argpartition(scores, -problem.k, axis=1)[:, -problem.k :]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            np.take_along_axis(best, order, axis=1)

    return rank


def torch_topk(problem: Problem) -> Callable[[], object]:
    """torch: product into a buffer, seen items masked, ``torch.topk``."""
    import torch

    users, items = torch.from_numpy(problem.users), torch.from_numpy(problem.items).T.contiguous()
    scores = torch.empty(USERS_PER_BLOCK, len(problem.items))

    def rank() -> None:
        for row in range(0, len(users), USERS_PER_BLOCK):
            part = slice(row, row + USERS_PER_BLOCK)
            torch.mm(users[part], items, out=scores)
            rows, columns = (torch.from_numpy(at) for at in problem.seen[part].nonzero())
            scores[rows, columns] = -torch.inf
            torch.topk(scores, problem.k)

    return rank


def faiss_knn(problem: Problem) -> Callable[[], object]:
    """``faiss.knn`` by inner product, which cannot leave seen items out."""
    import faiss

    faiss.omp_set_num_threads(1)
    return lambda: faiss.knn(
        problem.users, problem.items, problem.k, metric=faiss.METRIC_INNER_PRODUCT
    )


# --- The sparse part ------------------------------------------------------------------------------

NEIGHBOURS, RATED = 50, 100
N_ITEMS, MANY_ITEMS = 26_744, 500_000
HEAD = 0.05
"""Zipf's law of items begins at this share of them. The item that is most often a neighbour then is
one six times as often as the mean item; trained on MovieLens or Gowalla, five times."""


@dataclass(frozen=True)
class SparseProblem:
    """Users to rank by the weights between items, by factors, or by both."""

    weights: ItemWeights
    ratings: csr_matrix
    users: np.ndarray
    items: np.ndarray

    @classmethod
    def draw(cls, n_users: int, n_items: int, n_factors: int, seed: int = 0) -> "SparseProblem":
        rng = np.random.default_rng(seed)
        neighbours = draw_long_tailed(n_items, n_items, NEIGHBOURS, rng)
        neighbours.data[:] = rng.gamma(0.5, 0.1, neighbours.nnz)
        matrix = neighbours.T.tocsr()
        matrix.sort_indices()
        weights = ItemWeights(matrix, np.linspace(0.9, 0.0, n_items, dtype="f4"), RatingWeights())
        ratings = draw_long_tailed(n_users, n_items, RATED, rng)
        users, items = (
            rng.standard_normal((n, n_factors)).astype(np.float32) for n in (n_users, n_items)
        )
        # Both parts move scores alike, as in a blend of weight 1.
        spread = (ratings[:64] @ matrix).toarray().std()
        return cls(weights, ratings, users * np.float32(spread / n_factors**0.5), items)

    @property
    def reached(self) -> float:
        """Weights that a user's ratings reach, in the mean."""
        rows = np.diff(self.weights.matrix.indptr)
        return float(rows[self.ratings.indices].sum() / self.ratings.shape[0])


def draw_long_tailed(
    n_rows: int, n_items: int, per_row: int, rng: np.random.Generator
) -> csr_matrix:
    """Ones, CSR float32: in each row so many items or a few less, since none is there twice."""
    # The inverse of the distribution of density 1 / (HEAD n + item).
    first = HEAD * n_items
    drawn = first * (1 + 1 / HEAD) ** rng.random(n_rows * per_row) - first
    columns = np.minimum(drawn.astype(np.int32), n_items - 1)
    starts = np.arange(0, len(columns) + 1, per_row)
    matrix = csr_matrix((np.ones(len(columns), np.float32), columns, starts), (n_rows, n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def time_slim_scoring(n_users: int = 2_304, runs: int = 9) -> Iterator[Row]:
    """Users a second, k = 10, of the sparse part in turn with the kernel on factors alone."""
    for n_items, n_factors, is_blend in (
        (N_ITEMS, 64, False),
        (MANY_ITEMS, 64, False),
        (N_ITEMS, 128, True),
    ):
        problem = SparseProblem.draw(n_users, n_items, n_factors)
        dense = TopKScorer(problem.items, 10)
        rank = rank_blend(problem) if is_blend else rank_slim(problem)

        def rank_dense(problem: SparseProblem = problem, dense: TopKScorer = dense) -> None:
            dense.rank(problem.users, problem.ratings)

        with one_thread():
            timed = compare(rank, rank_dense, runs=runs, exact=True)
        yield {
            "ranked by": f"slim and {n_factors} factors" if is_blend else "slim",
            "items": n_items,
            "users/s": n_users / timed.ours,
            "the kernel alone": f"{n_factors} factors",
            "its users/s": n_users / timed.peer,
            "ratio": timed.ratio,
            "weights a user": problem.reached,
        }


def rank_slim(problem: SparseProblem) -> Callable[[], object]:
    """Weighing the ratings is part of it: a model of factors has its fold-in."""
    scorer = SparseTopKScorer(problem.weights, 10)
    return lambda: scorer.rank(problem.weights.weigh(problem.ratings), problem.ratings)


def rank_blend(problem: SparseProblem) -> Callable[[], object]:
    scorer = TopKScorer(problem.items, 10, weights=problem.weights)
    return lambda: scorer.rank(
        problem.users, problem.ratings, problem.weights.weigh(problem.ratings)
    )
