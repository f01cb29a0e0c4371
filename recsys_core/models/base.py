"""The one form of every model: ``score(user, item) = user_factors . item_factors``.

A trained model is its item factors and what its fold-in needs. User factors are never stored: they
are a function of a user's own ratings, so the nightly job and an interactive query compute them
with the same ``fold_in``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.errors import TrainingError

Device = Literal["auto", "cpu", "cuda"]

OnEpoch: TypeAlias = Callable[[int, float], None]
"""Called after each epoch or iteration with its number (from 0) and its loss."""


class FactorModel(ABC):
    """Item factors of one trained model and the fold-in that goes with them.

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
        """Float32 [n_items, n_columns], C-contiguous; bias terms are columns of it."""

    @property
    def item_embeddings(self) -> Float32Array:
        """Float32 [n_items, n_factors]: the item factors without bias columns, for distances."""
        return self.item_factors

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


@dataclass(frozen=True)
class TrainedModel:
    """A model and the account of its training."""

    model: FactorModel
    losses: list[float] = field(default_factory=list)
    """One value an epoch (mf: mean squared error) or iteration (als: the objective;
    nmf: the solver's violation); none for ease."""
    figures: dict[str, float] = field(default_factory=dict)
    """Named results, such as ``reconstruction_error``."""
    device: str = "cpu"


def require_finite(kind: str, factors: np.ndarray[Any, Any], *, after: str, advice: str) -> None:
    """Raise TrainingError unless all ``factors`` are finite, naming the model and what to try."""
    if not np.isfinite(factors).all():
        raise TrainingError(f"{kind}: factors are not finite after {after}; {advice}")
