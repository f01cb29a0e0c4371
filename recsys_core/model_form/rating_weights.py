"""How much a rating counts: the same for all, or more where the item was liked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr


@dataclass(frozen=True)
class RatingWeights:
    """x~ = 1 + c (r - mean r): with c = 0 what is rated counts, not how well.

    A rating far enough below the mean weighs less than nothing: it counts against what goes with
    the item.
    """

    per_unit: float = 0.0
    """c: what one unit of rating above the mean adds."""
    mean_rating: float = 0.0
    """Of the ratings that were trained on."""

    @classmethod
    def of(cls, ratings: Csr, per_unit: float) -> Self:
        """For these ratings, CSR with at least one."""
        return cls(per_unit, float(ratings.data.mean(dtype=np.float64)))

    def weigh(self, ratings: Csr) -> Csr:
        """The weight of each stored rating, zeros included; CSR float32 of the same shape."""
        weights = np.ones(ratings.nnz, dtype=np.float32)
        if self.per_unit:
            above = ratings.data.astype(np.float64) - self.mean_rating
            weights = (1.0 + self.per_unit * above).astype(np.float32)
        return csr_matrix(
            (weights, ratings.indices.copy(), ratings.indptr.copy()), shape=ratings.shape
        )

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "rating_weight": np.array([self.per_unit]),
            "mean_rating": np.array([self.mean_rating]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """KeyError where there are none, ValueError where they are no numbers."""
        found = cls(*(float(arrays[name][0]) for name in ("rating_weight", "mean_rating")))
        if not (0 <= found.per_unit < np.inf and np.isfinite(found.mean_rating)):
            raise ValueError(f"no model has {found}")
        return found
