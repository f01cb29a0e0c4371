"""Every model by the name users write in ``train.model``. Adding one is one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.als import AlsModel, train_als
from recsys_core.models.base import TrainedModel
from recsys_core.models.ease import EaseModel, train_ease
from recsys_core.models.mf import MfModel, train_mf
from recsys_core.models.nmf import NmfModel, train_nmf


@dataclass(frozen=True)
class TrainingMemory:
    """Most bytes that training takes, the ratings it is given not counted."""

    rating: int
    """For each rating."""
    user_factor: int
    """For each column of a user's factors."""
    item_factor: int
    """For each column of an item's factors."""

    def bound(self, n_ratings: int, n_users: int, n_items: int, n_columns: int) -> int:
        """Bytes of one training."""
        of_column = self.user_factor * n_users + self.item_factor * n_items
        return self.rating * n_ratings + n_columns * of_column


def _count_factors(*, n_factors: int, biases: bool = False, **_: Any) -> int:
    return n_factors + 2 * biases


@dataclass(frozen=True)
class ModelKind:
    """A model, its trainer, and what is known of a training before it is begun.

    ``train(ratings, *, seed, device, on_epoch, **settings)`` takes the fields of the model's
    configuration section as ``settings``, and so does ``count_columns(**settings)``.
    """

    model: type[ItemModel]
    train: Callable[..., TrainedModel]
    memory: TrainingMemory
    rounds: str | None = None
    """The setting that says how often ``on_epoch`` is called at most; None where it never is."""
    count_columns: Callable[..., int] = _count_factors
    """Columns of the factors, those of biases too."""


MODELS: dict[str, ModelKind] = {
    # scikit-learn works in float64: the matrix and its transpose, and four factor matrices.
    "nmf": ModelKind(
        NmfModel,
        train_nmf,
        TrainingMemory(24, 32, 32),
        rounds="max_iter",
        count_columns=lambda n_components, **_: n_components,
    ),
    # Pairs, values and their shuffled copies; the table, its gradient and two moments.
    "mf": ModelKind(MfModel, train_mf, TrainingMemory(56, 16, 16), rounds="epochs"),
    # The matrix and its transpose; factors of both sides, and those of the iteration before.
    "als": ModelKind(AlsModel, train_als, TrainingMemory(24, 8, 8), rounds="iterations"),
    # The matrix and its transpose; one product with all users, several with all items.
    "ease": ModelKind(EaseModel, train_ease, TrainingMemory(24, 8, 32)),
}
