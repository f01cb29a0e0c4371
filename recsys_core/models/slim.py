"""Sparse item-to-item weights: each item's score is a sum over the ratings of a few like it.

Ridge regression of each item on its m most alike items: fsSLIM of Ning and Karypis, *SLIM: Sparse
Linear Methods for Top-N Recommender Systems*, ICDM 2011, without its L1 term; also the sparse
Markov random field of Steck, *Markov Random Fields for Collaborative Filtering*, NeurIPS 2019, with
r = 0. X is users x items, x_ui = max(0, 1 + c (r_ui - mean r)) where u rated i:

    G    = X' W X,  W = diag((n_u / mean n)^-2b) for users of n_u ratings
    N(j) = the m items i other than j with the largest G_ij / sqrt(G_ii G_jj)
    S_Nj = (G_NN + lambda I)^-1 G_Nj (n_j / mean n)^-a for an item of n_j ratings

A low-rank model has to leave out items of few ratings; here each has weights of its own, and the
lists reach far more of them.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array, Float64Array
from recsys_core.errors import TrainingError
from recsys_core.linalg.randomized_subspace import find_principal_directions
from recsys_core.model_form.item_model import ItemModel
from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.model_form.rating_weights import RatingWeights
from recsys_core.models.base import Device, OnEpoch, TrainedModel, require_finite
from recsys_core.models.devices import resolve_device
from recsys_core.models.slim_kernels import (
    CoRatings,
    Neighbours,
    Systems,
    choose_neighbours,
    fill_systems,
    solve_systems,
)
from recsys_core.sparse import damp_counts, split_csr

MOST_RATINGS: Final = 4_096
"""Ratings of one user that count in G; of more, so many are drawn. Who rates everything says little
about what goes together, and costs the square of it."""
SYSTEM_BYTES: Final = 2**29
"""Most bytes of systems gathered at once. G is worked out once more for each such block."""
N_EMBEDDING: Final = 32
"""Directions of S that stand for an item where distances are asked for."""
_ITEMS_AT_ONCE = 32
"""What a thread takes at a time, or a 512th of all: it begins with scratch for every item."""


@dataclass(frozen=True)
class SlimModel(ItemModel):
    """Weights between items, and no factors."""

    kind: ClassVar[str] = "slim"
    weights: ItemWeights
    embeddings: Float32Array
    """Float32 [n_items, at most N_EMBEDDING]: an item's column of S in the directions of most of
    S, so that items are near which the same items recommend."""

    @cached_property
    def item_factors(self) -> Float32Array:
        return np.zeros((self.weights.n_items, 0), dtype=np.float32)

    @property
    def item_weights(self) -> ItemWeights:
        return self.weights

    @property
    def item_embeddings(self) -> Float32Array:
        return self.embeddings

    def fold_in(self, ratings: Csr) -> Float32Array:
        """Nothing, float32 [n_users, 0]: all that is of a user are the ratings' weights."""
        return np.zeros((ratings.shape[0], 0), dtype=np.float32)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {**self.weights.to_arrays(), "embeddings": self.embeddings}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        weights = ItemWeights.from_arrays(arrays)
        embeddings = np.ascontiguousarray(arrays["embeddings"], dtype=np.float32)
        if embeddings.ndim != 2 or len(embeddings) != weights.n_items:
            raise ValueError(f"embeddings of shape {embeddings.shape}, {weights.n_items} items")
        if not np.isfinite(embeddings).all():
            raise ValueError("embeddings are not finite")
        return cls(weights, embeddings)


def train_slim(
    ratings: Csr,
    *,
    neighbours: int,
    regularization: float,
    activity_exponent: float,
    popularity_exponent: float,
    rating_weight: float,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
    n_threads: int | None = None,
) -> TrainedModel:
    """Find each item's neighbours and solve for their weights.

    Args:
        ratings: CSR [n_users, n_items].
        neighbours: m.
        regularization: lambda, above 0.
        activity_exponent: b, from 0 to 1.
        popularity_exponent: a, from 0 to 1.
        rating_weight: c, for one unit of rating; 0: what is rated counts, not how well.
        seed: of the draw from users of more than ``MOST_RATINGS``, and of the embeddings.
        device: the weights are always found on the CPU, with the same bits on any number of
            threads.
        on_epoch: never called; there are no epochs.
        n_threads: as many as this process has CPUs where None.

    Returns:
        The model without losses, and how many weights there are, and items without any.

    Raises:
        DeviceError: see ``resolve_device``.
        TrainingError: there are no ratings, or the weights are not finite.
    """
    chosen = resolve_device(device)
    if ratings.nnz == 0:
        raise TrainingError("slim: there are no ratings to learn from; relax clean.*")
    of_ratings = RatingWeights.of(ratings, rating_weight)
    rating_count = np.bincount(ratings.indices, minlength=ratings.shape[1])
    together = pair_ratings(ratings, of_ratings, activity_exponent=activity_exponent, seed=seed)
    with ThreadPoolExecutor(n_threads or len(os.sched_getaffinity(0))) as pool:
        found = _find_neighbours(together, neighbours, pool)
        solved = _solve_weights(together, found, regularization, pool)
    solved *= damp_counts(rating_count, popularity_exponent).astype(np.float32)[:, None]
    require_finite(
        "slim",
        solved,
        after="solving",
        advice=f"raise train.slim.regularization (now {regularization:g})",
    )
    matrix = _to_matrix(found, solved)
    popularity = (rating_count / (rating_count.max() + 1)).astype(np.float32)
    embeddings = _embed_items(matrix, seed, chosen)
    figures = {
        "weights": float(matrix.nnz),
        "items_without_weights": float((found.counts == 0).sum()),
    }
    model = SlimModel(ItemWeights(matrix, popularity, of_ratings), embeddings)
    return TrainedModel(model, [], figures, device="cpu")


def pair_ratings(
    ratings: Csr, weights: RatingWeights, *, activity_exponent: float, seed: int
) -> CoRatings:
    """X and W X by users and by items, without what weighs nothing."""
    of_user = damp_counts(np.diff(ratings.indptr), 2 * activity_exponent)
    values = weights.weigh(_draw_ratings(ratings, seed), least=0.0)
    values.eliminate_zeros()
    values.sort_indices()
    by_item = values.copy()
    by_item.data *= np.repeat(of_user, np.diff(values.indptr)).astype(np.float32)
    return CoRatings(*split_csr(values), *split_csr(by_item.T.tocsr()))


def _draw_ratings(ratings: Csr, seed: int) -> Csr:
    """The ratings, of users of too many only some, drawn user by user."""
    counts = np.diff(ratings.indptr)
    if counts.max() <= MOST_RATINGS:
        return ratings
    keep = np.ones(ratings.nnz, dtype=np.bool_)
    for user in np.flatnonzero(counts > MOST_RATINGS).tolist():
        drawn = np.random.default_rng([seed, user]).permutation(counts[user])
        keep[ratings.indptr[user] + drawn[MOST_RATINGS:]] = False
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    return csr_matrix(
        (ratings.data[keep], ratings.indices[keep], kept_before[ratings.indptr]),
        shape=ratings.shape,
    )


def _find_neighbours(together: CoRatings, m: int, pool: ThreadPoolExecutor) -> Neighbours:
    n_items = len(together.item_starts) - 1
    m = max(1, min(m, n_items - 1))
    squares = _measure_diagonal(together)
    found = Neighbours(
        np.zeros(n_items, np.int32),
        np.zeros((n_items, m), np.int32),
        np.zeros((n_items, m), np.float32),
    )
    _run(
        pool, n_items, lambda first, stop: choose_neighbours(together, squares, first, stop, found)
    )
    return found


def _measure_diagonal(together: CoRatings) -> Float64Array:
    """[n_items]: G_ii."""
    n_items = len(together.item_starts) - 1
    by_user = csr_matrix(
        (together.user_values, together.user_items, together.user_starts),
        shape=(len(together.user_starts) - 1, n_items),
    )
    of_item = by_user.T.tocsr().data.astype(np.float64) * together.item_values
    item = np.repeat(np.arange(n_items), np.diff(together.item_starts))
    return np.bincount(item, weights=of_item, minlength=n_items).astype(np.float64)


def _solve_weights(
    together: CoRatings, found: Neighbours, regularization: float, pool: ThreadPoolExecutor
) -> Float32Array:
    """Float32 [n_items, m]: b of each item, beside its neighbours."""
    n_items, m = found.items.shape
    weights = np.zeros((n_items, m), dtype=np.float32)
    block = max(1, min(n_items, SYSTEM_BYTES // (4 * m * m)))
    gram = np.zeros((block, m, m), dtype=np.float32)  # once: fresh memory is slow to touch
    for first in range(0, n_items, block):
        n_systems = min(block, n_items - first)
        systems = _list_systems(found, first, first + n_systems, gram)

        def fill(start: int, stop: int, systems: Systems = systems) -> None:
            fill_systems(together, found, start, stop, systems)

        def solve(start: int, stop: int, systems: Systems = systems) -> None:
            solve_systems(systems, found, regularization, start, stop, weights)

        _run(pool, n_items, fill)
        _run(pool, n_systems, solve)
    return weights


def _list_systems(found: Neighbours, first: int, stop: int, gram: Float32Array) -> Systems:
    """In which systems, of the items from ``first`` to ``stop``, each item is a neighbour."""
    n_items, m = found.items.shape
    counts = found.counts[first:stop]
    listed = np.arange(m) < counts[:, None]
    item = found.items[first:stop][listed]
    order = np.argsort(item, kind="stable")
    system = np.repeat(np.arange(stop - first, dtype=np.int32), counts)[order]
    place = np.broadcast_to(np.arange(m, dtype=np.int32), listed.shape)[listed][order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(item, minlength=n_items))])
    return Systems(first, gram, starts.astype(np.int64), system, place)


def _run(pool: ThreadPoolExecutor, n: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, stop)`` over 0..n in parts."""
    at_once = max(_ITEMS_AT_ONCE, n // 512)
    list(pool.map(lambda first: work(first, min(first + at_once, n)), range(0, n, at_once)))


def _to_matrix(found: Neighbours, weights: Float32Array) -> Csr:
    """S: column j holds the weights of j's neighbours."""
    n_items, m = found.items.shape
    kept = (np.arange(m) < found.counts[:, None]) & (weights != 0)
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    by_target = csr_matrix((weights[kept], found.items[kept], starts), shape=(n_items, n_items))
    matrix = by_target.T.tocsr()
    matrix.sort_indices()
    return matrix


def _embed_items(matrix: Csr, seed: int, device: str) -> Float32Array:
    if matrix.nnz == 0:
        return np.zeros((matrix.shape[0], 1), dtype=np.float32)
    principal = find_principal_directions(
        matrix,
        N_EMBEDDING,
        popularity_exponent=0.0,
        power_iterations=2,
        seed=seed,
        device=device,
    )
    return (principal.directions * np.sqrt(principal.energies)).astype(np.float32, order="C")
