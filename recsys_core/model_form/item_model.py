"""The one form of every model: ``score(user, .) = p(x) Q' + x~ S``.

x is the user's row of ratings. p(x) Q' is the low-rank part: the user's factors, a function of x,
times the item factors Q. x~ S is the sparse part: the ratings as weights, times the few weights
that S has between items. A model has one part or both. What is of a user is never stored: the
nightly job and an interactive query compute it with the same functions.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.model_form.item_weights import ItemWeights


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

    @abstractmethod
    def fold_in(self, ratings: Csr) -> Float32Array:
        """User factors float32 [n_users, n_columns] for CSR ratings [n_users, n_items].

        Each row depends on that row alone, bit for bit: not on the other users of the batch, their
        number or their order.
        """

    @abstractmethod
    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything ``from_arrays`` needs, as named numeric arrays."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The model saved by ``to_arrays``. KeyError or ValueError where arrays do not fit."""
