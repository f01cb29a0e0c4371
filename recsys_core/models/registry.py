"""Every model by the name users write in ``train.model``. Adding one is one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.als import AlsModel, train_als
from recsys_core.models.base import TrainedModel
from recsys_core.models.blend import BlendModel, train_blend
from recsys_core.models.ease import EaseModel, train_ease
from recsys_core.models.mf import MfModel, train_mf
from recsys_core.models.nmf import NmfModel, train_nmf
from recsys_core.models.slim import SYSTEM_BYTES, SlimModel, train_slim


@dataclass(frozen=True)
class PartSizes:
    """How large the two parts of a model are."""

    columns: int = 0
    """Of the factors, those of biases too."""
    weights: int = 0
    """Of each item, at most."""


@dataclass(frozen=True)
class TrainingMemory:
    """Most bytes that training takes, the ratings it is given not counted."""

    rating: int
    """For each rating."""
    user_factor: int
    """For each column of a user's factors."""
    item_factor: int
    """For each column of an item's factors."""
    item_weight: int = 0
    """For each weight of an item."""
    item: int = 0
    """For each item."""
    fixed: int = 0

    def bound(self, n_ratings: int, n_users: int, n_items: int, parts: PartSizes) -> int:
        """Bytes of one training."""
        of_column = self.user_factor * n_users + self.item_factor * n_items
        of_items = (self.item + self.item_weight * parts.weights) * n_items
        return self.rating * n_ratings + parts.columns * of_column + of_items + self.fixed


def _size_factors(*, n_factors: int, biases: bool = False, **_: Any) -> PartSizes:
    return PartSizes(columns=n_factors + 2 * biases)


def _size_slim(*, neighbours: int, **_: Any) -> PartSizes:
    return PartSizes(weights=neighbours)


def _size_blend(*, low_rank: str, slim: dict[str, Any], **parts: Any) -> PartSizes:
    columns = MODELS[low_rank].size_parts(**parts[low_rank]).columns
    return PartSizes(columns, _size_slim(**slim).weights)


@dataclass(frozen=True)
class ModelKind:
    """A model, its trainer, and what is known of a training before it is begun.

    ``train(ratings, *, seed, device, on_epoch, **settings)`` takes the fields of the model's
    configuration section as ``settings``, and so does ``size_parts(**settings)``. Those of a model
    made of others are also the settings of these, each by its name.
    """

    model: type[ItemModel]
    train: Callable[..., TrainedModel]
    memory: TrainingMemory
    rounds: str | None = None
    """The setting that says how often ``on_epoch`` is called at most; None where it never is."""
    size_parts: Callable[..., PartSizes] = _size_factors


MODELS: dict[str, ModelKind] = {
    # scikit-learn works in float64: the matrix and its transpose, and four factor matrices.
    "nmf": ModelKind(
        NmfModel,
        train_nmf,
        TrainingMemory(24, 32, 32),
        rounds="max_iter",
        size_parts=lambda n_components, **_: PartSizes(n_components),
    ),
    # Pairs, values and their shuffled copies; the table, its gradient and two moments.
    "mf": ModelKind(MfModel, train_mf, TrainingMemory(56, 16, 16), rounds="epochs"),
    # The matrix and its transpose; factors of both sides, and those of the iteration before.
    "als": ModelKind(AlsModel, train_als, TrainingMemory(24, 8, 8), rounds="iterations"),
    # The matrix and its transpose; one product with all users, several with all items.
    "ease": ModelKind(EaseModel, train_ease, TrainingMemory(24, 8, 32)),
    # The matrix and its transpose, weighted, as they are made; neighbours and weights, as found and
    # as a matrix both ways; the systems of a block of items; the directions of the embeddings.
    "slim": ModelKind(
        SlimModel,
        train_slim,
        TrainingMemory(56, 0, 0, item_weight=48, item=1_024, fixed=SYSTEM_BYTES),
        size_parts=_size_slim,
    ),
    # A split of the ratings, and the parts of that while those of all ratings are trained.
    "blend": ModelKind(
        BlendModel,
        train_blend,
        TrainingMemory(80, 8, 40, item_weight=72, item=1_024, fixed=SYSTEM_BYTES),
        size_parts=_size_blend,
    ),
}
