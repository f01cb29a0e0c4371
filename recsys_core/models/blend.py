"""Two models on one scale: ``slim`` for what goes together, a low-rank one for tastes.

    score = x~ S + alpha p(x) Q',  alpha = w sd(x~ S) / sd(p(x) Q')

where sd is the standard deviation of scores over users and items: with w = 1 both parts move scores
alike. The best w is found on a split of the ratings that are trained on; then both models are
trained on all of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np
from scipy.sparse import issparse

from recsys_core.arrays import Csr, Float32Array, Int64Array
from recsys_core.errors import TrainingError
from recsys_core.evaluation.metrics import measure_lists
from recsys_core.evaluation.splits import Split, draw_rows, hold_out_at_random
from recsys_core.model_form.item_model import ItemModel
from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.models.als import AlsModel, train_als
from recsys_core.models.base import Device, OnEpoch, TrainedModel
from recsys_core.models.ease import EaseModel, train_ease
from recsys_core.models.slim import SlimModel, train_slim
from recsys_core.ranking.model_scorer import ModelScorer

LOW_RANK: Final[dict[str, tuple[type[ItemModel], Callable[..., TrainedModel]]]] = {
    "als": (AlsModel, train_als),
    "ease": (EaseModel, train_ease),
}
"""By name, the models and trainers of the low-rank part."""
WEIGHTS: Final = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0)
"""Values of w that are tried."""
HELD_OUT: Final = 0.2
"""Share of each user's ratings that w is chosen by."""
_MOST_USERS = 10_000
"""Users whose held-out ratings w is chosen by."""
_SAMPLED_USERS = 1_000
"""Users whose scores the standard deviations are of."""
_K = 10


@dataclass(frozen=True)
class BlendModel(ItemModel):
    """The factors of one model and the weights of another."""

    kind: ClassVar[str] = "blend"
    slim: SlimModel
    low_rank: ItemModel
    alpha: float
    """What a score of the low-rank part counts beside one of the sparse part."""

    @cached_property
    def item_factors(self) -> Float32Array:
        return np.ascontiguousarray(self.low_rank.item_factors * np.float32(self.alpha))

    @property
    def item_weights(self) -> ItemWeights:
        return self.slim.weights

    @property
    def item_embeddings(self) -> Float32Array:
        return self.low_rank.item_embeddings

    def fold_in(self, ratings: Csr) -> Float32Array:
        """That of the low-rank part; see ``ItemModel``."""
        return self.low_rank.fold_in(ratings)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        parts = {SlimModel.kind: self.slim, self.low_rank.kind: self.low_rank}
        arrays = {
            f"{name}.{key}": array
            for name, part in parts.items()
            for key, array in part.to_arrays().items()
        }
        return {**arrays, "alpha": np.array([self.alpha])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        alpha = float(arrays["alpha"][0])
        if not 0 < alpha < np.inf:
            raise ValueError(f"alpha = {alpha}")
        slim = SlimModel.from_arrays(_take_part(arrays, SlimModel.kind))
        found = [name for name in LOW_RANK if any(key.startswith(f"{name}.") for key in arrays)]
        if len(found) != 1:
            raise ValueError(f"low-rank parts {found}, expected one")
        low_rank = LOW_RANK[found[0]][0].from_arrays(_take_part(arrays, found[0]))
        if low_rank.n_items != slim.n_items:
            raise ValueError(f"parts of {low_rank.n_items} and {slim.n_items} items")
        return cls(slim, low_rank, alpha)


def _take_part(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str
) -> dict[str, np.ndarray[Any, Any]]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)
    }


def train_blend(
    ratings: Csr,
    *,
    low_rank: str,
    weight: float | None,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
    **parts: Mapping[str, Any],
) -> TrainedModel:
    """Train both parts, and find their weight where none is given.

    Args:
        ratings: CSR [n_users, n_items].
        low_rank: one of ``LOW_RANK``.
        weight: w; None: the one of ``WEIGHTS`` with the best NDCG@10 on a fifth of each user's
            ratings, both parts being trained on the rest for that.
        seed: of both trainers and of the split.
        device: where the low-rank part is trained.
        on_epoch: never called.
        parts: the settings of ``slim`` and of the low-rank model, by name.

    Returns:
        The model without losses, its ``weight``, and where it was found ``weight_ndcg``.

    Raises:
        DeviceError, TrainingError: as the parts; no weight is given, and no user has ratings enough
            to hold any out.
    """

    def train_parts(part: Csr) -> tuple[TrainedModel, TrainedModel]:
        slim = train_slim(part, seed=seed, device=device, **parts[SlimModel.kind])
        return slim, LOW_RANK[low_rank][1](part, seed=seed, device=device, **parts[low_rank])

    figures = {}
    if weight is None:
        split = hold_out_at_random(ratings, fraction=HELD_OUT, seed=seed)
        weight, figures["weight_ndcg"] = _find_weight(split, *train_parts(split.train), seed=seed)
    slim, other = train_parts(ratings)
    model = _measure_scale(slim.model, other.model, ratings, seed).join(weight)
    return TrainedModel(model, [], {"weight": weight, **figures}, device=other.device)


def _find_weight(
    split: Split, slim: TrainedModel, other: TrainedModel, *, seed: int
) -> tuple[float, float]:
    """The best w for some of the users of a split, the lower of equals, and its NDCG@10."""
    drawn = _draw_users(split.known, _MOST_USERS, seed)
    if len(drawn) == 0:
        raise TrainingError(
            "blend: no user has ratings enough to find the weight of the parts by; "
            "set train.blend.weight"
        )
    relevant = split.held_out[drawn]
    scale = _measure_scale(slim.model, other.model, split.train, seed)
    users = scale.join(1.0).fold(split.known[drawn])  # the same with any weight

    def measure(weight: float) -> float:
        lists = ModelScorer(scale.join(weight), _K).rank(users)
        return next(m.value for m in measure_lists(lists, relevant, [_K]) if m.metric == "ndcg")

    found = {weight: measure(weight) for weight in WEIGHTS}
    best = max(WEIGHTS, key=lambda weight: found[weight])
    return best, found[best]


@dataclass(frozen=True)
class _Scale:
    """The two parts, and how far the scores of each are spread."""

    slim: SlimModel
    low_rank: ItemModel
    slim_spread: float
    low_rank_spread: float

    def join(self, weight: float) -> BlendModel:
        """The two on one scale."""
        alpha = 1.0  # where one of the parts has nothing to say it does not matter
        if self.slim_spread > 0 and self.low_rank_spread > 0:
            alpha = weight * self.slim_spread / self.low_rank_spread
        return BlendModel(self.slim, self.low_rank, alpha)


def _measure_scale(slim: ItemModel, other: ItemModel, ratings: Csr, seed: int) -> _Scale:
    """By some of the users who were trained on."""
    assert isinstance(slim, SlimModel)
    users = ratings[_draw_users(ratings, _SAMPLED_USERS, seed)]
    return _Scale(
        replace(slim, embeddings=slim.embeddings[:, :0]),  # those of the other part are used
        other,
        _measure_spread(slim.weights.weigh(users), slim.weights.matrix),
        _measure_spread(other.fold_in(users), other.item_factors.T),
    )


def _draw_users(ratings: Csr, n: int, seed: int) -> Int64Array:
    """Some of the users who have ratings, ascending."""
    rows = np.flatnonzero(np.diff(ratings.indptr) > 0)
    return rows[draw_rows(len(rows), n, seed)]


def _measure_spread(left: Any, right: Any) -> float:
    """The standard deviation of the entries of left right, which is never formed.

    Args:
        left: [n_users, n], dense or sparse.
        right: [n, n_items].
    """
    if issparse(left):
        scores = left.astype(np.float64) @ right.astype(np.float64)
        total, squares = scores.sum(), scores.multiply(scores).sum()
    else:
        left, right = left.astype(np.float64), right.astype(np.float64)
        total = left.sum(axis=0) @ right.sum(axis=1)
        squares = ((left.T @ left) * (right @ right.T)).sum()
    n = left.shape[0] * right.shape[1]
    variance = max(float(squares / n - (total / n) ** 2), 0.0)
    return math.sqrt(variance)
