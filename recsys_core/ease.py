"""Low-rank EASE: a linear model of which items go together, from principal directions of ratings.

Steck, *Embarrassingly Shallow Autoencoders for Sparse Data*, WWW 2019, solves
B = I - P diag(P)^-1 with P = (X'X + lambda I)^-1 for 0/1 ratings X. Here X'X is kept in F
directions of item space alone, X'X ~ V diag(s^2) V', so that no item x item matrix is ever made:

    h = s^2 / (s^2 + lambda)
    B_ij = (V diag(h) V')_ij / (1 - (V^2 h)_j)   for i != j

The diagonal, which EASE holds at zero, bears on seen items alone, and those are never listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.errors import TrainingError
from recsys_core.factor_model import Device, FactorModel, OnEpoch, TrainedModel
from recsys_core.item_space import find_item_space
from recsys_core.mf import resolve_device
from recsys_core.projection import project
from recsys_core.seen import mark_seen

_ROUNDING = 1e-5
"""Directions are orthonormal to within this."""


@dataclass(frozen=True)
class EaseModel(FactorModel):
    """Input factors V diag(sqrt h), and what makes output factors of them."""

    kind: ClassVar[str] = "ease"
    vectors: Float32Array
    """Float32 [n_items, n_factors]: V diag(sqrt h); zero for an item without ratings."""
    scale: Float32Array
    """Float32 [n_items]: 1 / (1 - V^2 h), at least 1."""

    @cached_property
    def _output(self) -> Float32Array:
        return np.ascontiguousarray(self.vectors * self.scale[:, None], dtype=np.float32)

    @property
    def item_factors(self) -> Float32Array:
        return self._output

    @property
    def item_embeddings(self) -> Float32Array:
        return self.vectors

    def fold_in(self, ratings: Csr) -> Float32Array:
        """x V diag(sqrt h), x being 1 where a rating is stored; see ``FactorModel.fold_in``."""
        return project(mark_seen(ratings), self.vectors).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {"item_factors": self.vectors, "scale": self.scale}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        vectors = np.ascontiguousarray(arrays["item_factors"], dtype=np.float32)
        scale = np.ascontiguousarray(arrays["scale"], dtype=np.float32)
        if vectors.ndim != 2 or scale.shape != vectors.shape[:1]:
            raise ValueError(f"scale has shape {scale.shape} beside factors of {vectors.shape}")
        if not (np.isfinite(vectors).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("item_factors are not finite, or scale is not finite and positive")
        return cls(vectors, scale)


def train_ease(
    ratings: Csr,
    *,
    n_factors: int,
    regularization: float,
    popularity_exponent: float,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Compute the directions and what follows from them.

    Args:
        ratings: CSR [n_users, n_items]; an item is seen where a rating is stored, whatever it is.
        n_factors: directions wanted. Where the ratings have a lower rank, the model has that many
            factors, and is full EASE.
        regularization: lambda, above 0.
        popularity_exponent: a of ``find_item_space``, from 0 to 1.
        seed: of ``find_item_space``; it bears on the directions of least energy.
        on_epoch: never called; there are no epochs.

    Returns:
        The model without losses, its ``rank``, and ``explained_share``: the part of the sum of
        squares of X that lies in its directions.

    Raises:
        DeviceError: see ``resolve_device``.
        TrainingError: there are no ratings, or lambda is so small that an item is predicted by
            itself up to rounding.
    """
    chosen = resolve_device(device)
    seen = mark_seen(ratings)
    if seen.nnz == 0:
        raise TrainingError("ease: there are no ratings to learn from")
    space = find_item_space(
        seen, n_factors, popularity_exponent=popularity_exponent, seed=seed, device=chosen
    )
    shrunk = space.energies / (space.energies + regularization)
    remainder = 1.0 - np.square(space.directions, dtype=np.float64) @ shrunk
    if remainder.min() < _ROUNDING:
        raise TrainingError(
            f"ease: an item is predicted by itself; raise train.ease.regularization "
            f"(now {regularization:g})"
        )
    vectors = (space.directions * np.sqrt(shrunk)).astype(np.float32, order="C")
    figures = {
        "rank": float(len(space.energies)),
        "explained_share": float(space.energies.sum() / seen.nnz),
    }
    scale = (1.0 / remainder).astype(np.float32)
    return TrainedModel(EaseModel(vectors, scale), [], figures, device=chosen)
