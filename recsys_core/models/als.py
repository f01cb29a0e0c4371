"""Alternating least squares for implicit feedback: what is rated, and how well if wanted.

Hu, Koren and Volinsky, *Collaborative Filtering for Implicit Feedback Datasets*, ICDM 2008, in the
form of Rendle, Krichene, Zhang and Koren, *Revisiting the Performance of iALS on Item
Recommendation Benchmarks*, RecSys 2022. With s the score p . q of a pair, it minimises

    sum over rated pairs c (s - 1)^2 + w * sum over all pairs s^2
        + lambda * (sum over users (n_u + w n_items)^nu |p|^2
                    + sum over items (n_i + w n_users)^nu |q|^2)

where n_u and n_i count the ratings of a user and of an item, and c is the confidence of a pair: 1
unless ratings weigh, and then more for a rating above their mean and less for one below, see
``RatingWeights``. With c = 1 and nu = 0 this is what the package ``implicit`` minimises with
alpha = 1 + 1 / w and regularization = alpha * lambda, but for a factor: its scores are 1 + w times
those here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.linalg.weighted_ridge import Penalty, WeightedRidge
from recsys_core.model_form.item_model import ItemModel
from recsys_core.model_form.rating_weights import EQUAL, RatingWeights
from recsys_core.models.als_half_steps import (
    CompiledSide,
    Side,
    TorchSide,
    measure_confidences,
)
from recsys_core.models.base import Device, OnEpoch, TrainedModel, require_finite
from recsys_core.models.devices import resolve_device
from recsys_core.sparse import split_pattern

_START = 0.1
"""Expected length of an item's factors before the first iteration."""


@dataclass(frozen=True)
class AlsModel(ItemModel):
    """Item factors and the weighted ridge regression that folds a user in."""

    kind: ClassVar[str] = "als"
    factors: Float32Array
    """Float32 [n_items, n_factors]."""
    penalty: Penalty
    weights: RatingWeights = EQUAL

    @property
    def item_factors(self) -> Float32Array:
        return self.factors

    @cached_property
    def _ridge(self) -> WeightedRidge:
        return WeightedRidge.create(self.factors, self.penalty)

    def fold_in(self, ratings: Csr) -> Float32Array:
        """(w Q'Q + Q_o'C Q_o + lambda (n_o + w n_items)^nu I) p = Q_o'C 1; see ``ItemModel``.

        C is the diagonal matrix of confidences. What is stored is rated, zeros included.
        """
        confidences = measure_confidences(ratings, self.weights)
        return self._ridge.solve(*split_pattern(ratings), confidences)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "item_factors": self.factors,
            "regularization": np.array([self.penalty.regularization]),
            "unobserved_weight": np.array([self.penalty.unobserved_weight]),
            "frequency_exponent": np.array([self.penalty.frequency_exponent]),
            **self.weights.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        factors = np.ascontiguousarray(arrays["item_factors"], dtype=np.float32)
        if factors.ndim != 2 or not np.isfinite(factors).all():
            raise ValueError(f"item_factors of shape {factors.shape} are not a finite matrix")
        names = ("regularization", "unobserved_weight", "frequency_exponent")
        penalty = Penalty(*(float(arrays[name][0]) for name in names))
        if not (
            0 < penalty.regularization < np.inf
            and 0 < penalty.unobserved_weight < np.inf
            and 0 <= penalty.frequency_exponent <= 1
        ):
            raise ValueError(f"no model has {penalty}")
        return cls(factors, penalty, RatingWeights.from_arrays(arrays))


def train_als(
    ratings: Csr,
    *,
    n_factors: int,
    iterations: int,
    regularization: float,
    unobserved_weight: float,
    frequency_exponent: float,
    rating_weight: float = 0.0,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Solve for the factors of all users and of all items in turn, each time exactly.

    Args:
        ratings: CSR [n_users, n_items]; what is stored is rated, zeros included.
        iterations: times that both sides are solved.
        regularization: lambda.
        unobserved_weight: w.
        frequency_exponent: nu, 0 to 1.
        rating_weight: what one unit of rating adds to the confidence of a pair; 0 or above.
        on_epoch: called with the objective after each iteration.

    Raises:
        DeviceError: see ``resolve_device``.
        TrainingError: the factors are not finite.
    """
    chosen = resolve_device(device)
    penalty = Penalty(regularization, unobserved_weight, frequency_exponent)
    weights = RatingWeights.of(ratings, rating_weight)
    by_user, by_item = make_sides(ratings, penalty, chosen, weights)
    items = by_item.to_device(draw_start(ratings.shape[1], n_factors, seed))
    advice = (
        f"move train.als.regularization (now {regularization:g}) or "
        f"train.als.unobserved_weight (now {unobserved_weight:g}) towards 1"
    )
    losses: list[float] = []
    for iteration in range(iterations):
        items, loss = iterate(by_user, by_item, items)
        require_finite("als", np.array(loss), after=f"iteration {iteration}", advice=advice)
        losses.append(loss)
        if on_epoch is not None:
            on_epoch(iteration, loss)
    factors = by_item.to_host(items)
    require_finite("als", factors, after=f"{iterations} iterations", advice=advice)
    model = AlsModel(factors, penalty, weights)
    return TrainedModel(model, losses, {"training_loss": losses[-1]}, device=chosen)


def make_sides(
    ratings: Csr, penalty: Penalty, device: str, weights: RatingWeights = EQUAL
) -> tuple[Side, Side]:
    """The two sides of the ratings: a row for each user, and a row for each item."""
    by_side = ratings, ratings.T.tocsr()
    if device == "cpu":
        users, items = (CompiledSide.create(each, penalty, weights) for each in by_side)
        return users, items
    of_users, of_items = (TorchSide.create(each, penalty, device, weights) for each in by_side)
    return of_users, of_items


def draw_start(n_items: int, n_factors: int, seed: int) -> Float32Array:
    """Item factors before the first iteration, the same for every device."""
    start = np.random.default_rng(seed).normal(
        0.0, _START / np.sqrt(n_factors), (n_items, n_factors)
    )
    return start.astype(np.float32)


def iterate(by_user: Side, by_item: Side, items: Any) -> tuple[Any, float]:
    """The next item factors, on the device, and the objective with them."""
    users, _ = by_user.solve(items)
    items, minimum = by_item.solve(users)
    objective = minimum + by_user.measure_penalty(users)
    return items, float(objective)  # the iteration's one wait for a GPU
