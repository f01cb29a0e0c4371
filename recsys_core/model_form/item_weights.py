"""The sparse part of a model: what a rating of one item adds to the scores of some others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array, Float64Array, Int32Array
from recsys_core.model_form.rating_weights import RatingWeights

_NAMES: Final = ("indptr", "indices", "values")


@dataclass(frozen=True)
class ItemWeights:
    """S, and how ratings become the weights x~ that it is multiplied by.

    An item that no weight of a user reaches has no score by S. Where the sparse part is all of the
    model, such items come after all others, by popularity, see ``ranking.sparse_top_k``.
    """

    matrix: Csr
    """S, CSR float32 [n_items, n_targets], finite, no zeros stored, indices ascending in a row:
    row i is what item i adds to. Targets are all items, or those that lists may hold."""
    popularity: Float32Array
    """Float32 [n_targets], 0 to less than 1: more for items of more ratings."""
    ratings: RatingWeights

    @property
    def n_items(self) -> int:
        return int(self.matrix.shape[0])

    @cached_property
    def by_target(self) -> Csr:
        """S', CSR float32 [n_targets, n_items]: row j is what adds to item j."""
        return _sort(self.matrix.T.tocsr())

    @cached_property
    def strongest(self) -> Float32Array:
        """Float32 [n_items]: the largest weight of each row of S, without its sign."""
        largest = np.asarray(abs(self.matrix).max(axis=1).todense(), dtype=np.float32)
        return largest.ravel()

    def weigh(self, ratings: Csr) -> Csr:
        """x~ of CSR ratings [n_users, n_items]: CSR float32 of the same shape.

        What weighs nothing is not stored; indices ascend in a row.
        """
        weights = self.ratings.weigh(ratings)
        weights.sum_duplicates()
        weights.eliminate_zeros()
        return weights

    def bound_scores(self, weights: Csr) -> Float64Array:
        """Float64 [n_users]: no score x~ S of these users is larger, by more than rounding.

        Args:
            weights: of ``weigh``.
        """
        bound: Float64Array = abs(weights).astype(np.float64) @ self.strongest.astype(np.float64)
        return bound

    def keep_targets(self, targets: Int32Array) -> Self:
        """These weights for some items alone, ``targets`` ascending, which are then renumbered."""
        kept = _sort(self.matrix[:, targets].tocsr())
        return replace(self, matrix=kept, popularity=self.popularity[targets])

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """S as its CSR arrays, and what the ratings' weights need."""
        matrix = self.matrix
        parts = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data)
        return {
            **dict(zip(_NAMES, parts, strict=True)),
            "popularity": self.popularity,
            **self.ratings.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The weights saved by ``to_arrays``. KeyError or ValueError where arrays do not fit."""
        indptr, indices, values = (arrays[name] for name in _NAMES)
        popularity = np.ascontiguousarray(arrays["popularity"], dtype=np.float32)
        n_items = len(popularity)
        data = np.ascontiguousarray(values, dtype=np.float32)
        if popularity.ndim != 1 or indptr.shape != (n_items + 1,):
            raise ValueError(f"indptr has shape {indptr.shape} beside {n_items} items")
        if not (np.isfinite(data).all() and np.all((popularity >= 0) & (popularity < 1))):
            raise ValueError("weights between items are not finite, or popularity is not a share")
        matrix = csr_matrix((data, indices, indptr), shape=(n_items, n_items))
        matrix.check_format(full_check=True)
        return cls(_sort(matrix), popularity, RatingWeights.from_arrays(arrays))


def _sort(matrix: Csr) -> Csr:
    """With ascending indices in each row, which fixes the order of every sum."""
    matrix.sort_indices()
    return matrix
