"""The one form of every model: ``score(user, .) = p(x) Q' + x~ S``.

x is the user's row of ratings. p(x) Q' is the low-rank part: the user's factors, a function of x,
times the item factors Q. x~ S is the sparse part: the ratings as weights, times the few weights
that S has between items. A model has one part or both. What is of a user is never stored: the
nightly job and an interactive query compute it with the same functions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.model_form.item_weights import ItemWeights


class ItemParts(Protocol):
    """The two parts of a model, as ranking knows them."""

    @property
    def item_factors(self) -> Float32Array:
        """Float32 [n_items, n_columns]."""

    @property
    def item_weights(self) -> ItemWeights | None:
        """S."""


@dataclass(frozen=True)
class FoldedUsers:
    """Users as both parts of a model see them, and what not to list for them."""

    factors: Float32Array
    """p(x), float32 [n_users, n_columns]."""
    seen: Csr
    """CSR [n_users, n_items]: what is stored is seen, zeros included."""
    weights: Csr | None = None
    """x~, CSR float32 [n_users, n_items] of ``ItemWeights.weigh``; None without a sparse part."""

    def __len__(self) -> int:
        return len(self.factors)

    def take_one(self, user: int) -> "FoldedUsers":
        """One of the users alone."""
        weights = None if self.weights is None else self.weights[user]
        return FoldedUsers(self.factors[user : user + 1], self.seen[user], weights)


class ItemModel(ABC):
    """What a trained model knows of the items, and the fold-in that goes with it.

    Implementations are immutable, hold only numpy arrays and plain numbers, and need neither torch
    nor scikit-learn to fold in: they are what Spark broadcasts to the executors.
    """

    kind: ClassVar[str]
    """Key of the model in the registry and in saved files."""
    predicts_ratings: ClassVar[bool] = False
    """Whether a score is a prediction of the rating, in rating units."""

    @property
    @abstractmethod
    def item_factors(self) -> Float32Array:
        """Float32 [n_items, n_columns], C-contiguous; bias terms are columns of it.

        Without columns where the model has no low-rank part.
        """

    @property
    def item_weights(self) -> ItemWeights | None:
        """The sparse part; None where the model has none."""
        return None

    @property
    def item_embeddings(self) -> Float32Array:
        """Float32 [n_items, n_factors]: where each item stands, for distances. No bias columns."""
        return self.item_factors

    @property
    def n_items(self) -> int:
        return len(self.item_factors)

    def count_not_finite(self) -> int:
        """Numbers of either part that are none."""
        weights = None if self.item_weights is None else self.item_weights.matrix.data
        parts = [self.item_factors] + ([] if weights is None else [weights])
        return sum(int((~np.isfinite(part)).sum()) for part in parts)

    @abstractmethod
    def fold_in(self, ratings: Csr) -> Float32Array:
        """User factors float32 [n_users, n_columns] for CSR ratings [n_users, n_items].

        Each row depends on that row alone, bit for bit: not on the other users of the batch, their
        number or their order.
        """

    def fold(self, ratings: Csr) -> FoldedUsers:
        """The users of CSR ratings [n_users, n_items], for both parts of the model."""
        weights = None if self.item_weights is None else self.item_weights.weigh(ratings)
        return FoldedUsers(self.fold_in(ratings), ratings, weights)

    @abstractmethod
    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything ``from_arrays`` needs, as named numeric arrays."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The model saved by ``to_arrays``. KeyError or ValueError where arrays do not fit."""
