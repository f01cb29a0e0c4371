"""What every trainer takes and gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from recsys_core.errors import TrainingError
from recsys_core.model_form.item_model import ItemModel

Device = Literal["auto", "cpu", "cuda"]

OnEpoch: TypeAlias = Callable[[int, float], None]
"""Called after each epoch or iteration with its number (from 0) and its loss."""


@dataclass(frozen=True)
class TrainedModel:
    """A model and the account of its training."""

    model: ItemModel
    losses: list[float] = field(default_factory=list)
    """One value an epoch (mf: mean squared error) or iteration (als: the objective;
    nmf: the solver's violation); none for a model that is computed in one go."""
    figures: dict[str, float] = field(default_factory=dict)
    """Named results, such as ``reconstruction_error``."""
    device: str = "cpu"


def require_finite(kind: str, factors: np.ndarray[Any, Any], *, after: str, advice: str) -> None:
    """Raise TrainingError unless all ``factors`` are finite, naming the model and what to try."""
    if not np.isfinite(factors).all():
        raise TrainingError(f"{kind}: factors are not finite after {after}; {advice}")
