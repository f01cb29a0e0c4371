"""How much a rating counts: the same for all, or more where the item was liked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array


@dataclass(frozen=True)
class RatingWeights:
    """x~ = 1 + c (r - mean r): with c = 0 what is rated counts, not how well.

    A rating far enough below the mean weighs less than nothing: it counts against what goes with
    the item. What cannot take that cuts weights off at a least one.
    """

    per_unit: float = 0.0
    """c: what one unit of rating above the mean adds."""
    mean_rating: float = 0.0
    """Of the ratings that were trained on."""

    @classmethod
    def of(cls, ratings: Csr, per_unit: float) -> Self:
        """For these ratings, CSR; their mean is not asked for where it has no effect."""
        if per_unit == 0.0 or ratings.nnz == 0:
            return cls(per_unit)
        return cls(per_unit, float(ratings.data.mean(dtype=np.float64)))

    def weigh(self, ratings: Csr, *, least: float = -np.inf) -> Csr:
        """The weight of each stored rating, zeros included; CSR float32 of the same shape."""
        weights = self.weigh_values(ratings.data, least=least)
        return csr_matrix(
            (weights, ratings.indices.copy(), ratings.indptr.copy()), shape=ratings.shape
        )

    def weigh_values(self, values: Float32Array, *, least: float = -np.inf) -> Float32Array:
        """The weight of each of some ratings, float32 of their shape."""
        if not self.per_unit:
            return np.ones(len(values), dtype=np.float32)
        weights = values.astype(np.float64)
        weights -= self.mean_rating
        weights *= self.per_unit
        weights += 1.0
        return np.maximum(weights, least, out=weights).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """None where ratings weigh alike."""
        if not self.per_unit:
            return {}
        return {
            "rating_weight": np.array([self.per_unit]),
            "mean_rating": np.array([self.mean_rating]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The weights saved by ``to_arrays``, by releases too in which all ratings weigh alike.

        KeyError where one of two arrays is missing, ValueError where they are no such numbers.
        """
        if "rating_weight" not in arrays and "mean_rating" not in arrays:
            return cls()
        per_unit = _read_number(arrays, "rating_weight")
        if per_unit < 0:
            raise ValueError(f"no model has rating_weight = {per_unit}")
        return cls(per_unit, _read_number(arrays, "mean_rating"))


def _read_number(arrays: Mapping[str, np.ndarray[Any, Any]], name: str) -> float:
    number = float(arrays[name][0])
    if not np.isfinite(number):
        raise ValueError(f"no model has {name} = {number}")
    return number


EQUAL: Final = RatingWeights()
"""Each rating counts 1, however good it is."""
