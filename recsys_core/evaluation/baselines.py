"""Models that know nothing of the user: what any other has to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.model_form.item_model import ItemModel


@dataclass(frozen=True)
class ItemScoreModel(ItemModel):
    """The same score of an item for everyone: one factor, which is 1 for each user."""

    scores: Float32Array
    """Float32 [n_items]."""

    @property
    def item_factors(self) -> Float32Array:
        return np.ascontiguousarray(self.scores[:, None], dtype=np.float32)

    def fold_in(self, ratings: Csr) -> Float32Array:
        return np.ones((ratings.shape[0], 1), dtype=np.float32)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {"item_scores": self.scores}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        return cls(np.asarray(arrays["item_scores"], dtype=np.float32))


@dataclass(frozen=True)
class PopularityModel(ItemScoreModel):
    """Most rated first."""

    kind: ClassVar[str] = "popularity"

    @classmethod
    def of(cls, ratings: Csr) -> Self:
        """Ratings of each item in CSR [n_users, n_items]."""
        return cls(count_ratings(ratings).astype(np.float32))


@dataclass(frozen=True)
class ItemMeanModel(ItemScoreModel):
    """An item's mean rating; the mean of all ratings for an item without any."""

    kind: ClassVar[str] = "item_mean"
    predicts_ratings: ClassVar[bool] = True

    @classmethod
    def of(cls, ratings: Csr) -> Self:
        """Means of CSR [n_users, n_items]; it must hold a rating."""
        counts = count_ratings(ratings)
        sums = np.bincount(ratings.indices, weights=ratings.data, minlength=ratings.shape[1])
        mean = ratings.data.mean(dtype=np.float64)
        return cls(np.where(counts > 0, sums / np.maximum(counts, 1), mean).astype(np.float32))


def count_ratings(ratings: Csr) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Int64 [n_items]: stored ratings of each item, zeros included."""
    return np.bincount(ratings.indices, minlength=ratings.shape[1])
