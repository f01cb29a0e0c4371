"""The top-k kernel against the matrix product alone and against what a user would take instead.

Factors are drawn from a normal distribution, which leaves nothing to skip; every user has seen 20
to 200 items. One thread on every side.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from benchmarks.timing import Comparison, compare, time_once
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

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
