"""Every model by the name users write in ``train.model``. Adding one is one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from recsys_core.models.als import AlsModel, train_als
from recsys_core.models.base import FactorModel, TrainedModel
from recsys_core.models.ease import EaseModel, train_ease
from recsys_core.models.mf import MfModel, train_mf
from recsys_core.models.nmf import NmfModel, train_nmf


@dataclass(frozen=True)
class ModelKind:
    """A model and its trainer.

    ``train(ratings, *, seed, device, on_epoch, **settings)`` takes the fields of the model's
    configuration section as ``settings``.
    """

    model: type[FactorModel]
    train: Callable[..., TrainedModel]


MODELS: dict[str, ModelKind] = {
    "nmf": ModelKind(NmfModel, train_nmf),
    "mf": ModelKind(MfModel, train_mf),
    "als": ModelKind(AlsModel, train_als),
    "ease": ModelKind(EaseModel, train_ease),
}
