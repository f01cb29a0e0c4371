"""Low-rank EASE: a linear model of which items go together, from principal directions of ratings.

Steck, *Embarrassingly Shallow Autoencoders for Sparse Data*, WWW 2019, solves
B = I - P diag(P)^-1 with P = (X'X + lambda I)^-1 for 0/1 ratings X. Here X'X is kept in F
directions of item space alone, X'X ~ V diag(e) V', so that no item x item matrix is ever made:

    h = e / (e + lambda)
    B_ij = (V diag(h) V')_ij / (1 - (V^2 h)_j)   for i != j

Where ratings weigh, X holds max(0, 1 + c (r - mean r)) in place of 1. At scoring a rating's weight
is not cut off at 0: one far below the mean counts against what goes with the item.

The diagonal, which EASE holds at zero, bears on seen items alone, and those are never listed.

A user of n ratings counts (n / mean n)^-2b times in X'X: b = 0 is EASE, and a little more makes
better lists, since who rates everything says little about what goes together.

Where F is a small part of the items, an item that the directions hardly reach is hardly ever
listed: its row a_i of V diag(sqrt h) is short. The scaling ``length`` divides by lengths rather
than by EASE's diagonal: B_ij = a_i . a_j / sqrt(|a_i| |a_j|).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array
from recsys_core.compile.padding import pad_columns
from recsys_core.errors import TrainingError
from recsys_core.linalg.projection import project
from recsys_core.linalg.randomized_subspace import find_principal_directions
from recsys_core.model_form.item_model import ItemModel
from recsys_core.model_form.rating_weights import EQUAL, RatingWeights
from recsys_core.models.base import Device, OnEpoch, TrainedModel
from recsys_core.models.devices import resolve_device
from recsys_core.sparse import damp_counts

Scaling = Literal["diagonal", "length"]

_ROUNDING = 1e-5
"""Directions are orthonormal to within this."""


@dataclass(frozen=True)
class EaseModel(ItemModel):
    """Input factors, and what makes output factors of them."""

    kind: ClassVar[str] = "ease"
    vectors: Float32Array
    """Float32 [n_items, n_factors]: V diag(sqrt h), with the scaling ``length`` each row over the
    root of its length; zero for an item without ratings."""
    scale: Float32Array
    """Float32 [n_items]: 1 / (1 - V^2 h), or 1 with the scaling ``length``."""
    weights: RatingWeights = EQUAL

    @cached_property
    def _output(self) -> Float32Array:
        return np.ascontiguousarray(self.vectors * self.scale[:, None], dtype=np.float32)

    @cached_property
    def _rows(self) -> Float32Array:
        """The input factors as ``project`` does not have to copy them."""
        return pad_columns(self.vectors)

    @property
    def item_factors(self) -> Float32Array:
        return self._output

    @property
    def item_embeddings(self) -> Float32Array:
        return self.vectors

    def fold_in(self, ratings: Csr) -> Float32Array:
        """x times the input factors, x being the ratings' weights; see ``ItemModel``."""
        sums = project(self.weights.weigh(ratings), self._rows)
        return sums[:, : self.vectors.shape[1]].astype(np.float32, order="C")

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "item_factors": self.vectors,
            "scale": self.scale,
            **self.weights.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        vectors = np.ascontiguousarray(arrays["item_factors"], dtype=np.float32)
        scale = np.ascontiguousarray(arrays["scale"], dtype=np.float32)
        if vectors.ndim != 2 or scale.shape != vectors.shape[:1]:
            raise ValueError(f"scale has shape {scale.shape} beside factors of {vectors.shape}")
        if not (np.isfinite(vectors).all() and np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError("item_factors are not finite, or scale is not finite and positive")
        return cls(vectors, scale, RatingWeights.from_arrays(arrays))


def train_ease(
    ratings: Csr,
    *,
    n_factors: int,
    regularization: float,
    popularity_exponent: float,
    activity_exponent: float,
    power_iterations: int,
    scaling: Scaling,
    rating_weight: float = 0.0,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Compute the directions and what follows from them.

    Args:
        ratings: CSR [n_users, n_items]; an item is seen where a rating is stored, zeros included.
        n_factors: directions wanted. Where the ratings have a lower rank, the model has that many
            factors, and with the scaling ``diagonal`` is full EASE.
        regularization: lambda, above 0.
        popularity_exponent: a of ``find_principal_directions``, from 0 to 1.
        activity_exponent: b, from 0 to 1.
        power_iterations: of ``find_principal_directions``.
        rating_weight: c, what one unit of rating adds to a rating's weight; 0 or above.
        seed: of ``find_principal_directions``.
        on_epoch: never called; there are no epochs.

    Returns:
        The model without losses, its ``rank``, and ``explained_share``: the part of the sum of
        squares of the weighted X that lies in its directions.

    Raises:
        DeviceError: see ``resolve_device``.
        TrainingError: there are no ratings, or lambda is so small that an item is predicted by
            itself up to rounding.
    """
    chosen = resolve_device(device)
    if ratings.nnz == 0:
        raise TrainingError("ease: there are no ratings to learn from; relax clean.*")
    weights = RatingWeights.of(ratings, rating_weight)
    weighted = _weigh(ratings, weights, activity_exponent)
    principal = find_principal_directions(
        weighted,
        n_factors,
        popularity_exponent=popularity_exponent,
        power_iterations=power_iterations,
        seed=seed,
        device=chosen,
    )
    shrunk = principal.energies / (principal.energies + regularization)
    vectors = (principal.directions * np.sqrt(shrunk)).astype(np.float32, order="C")
    vectors, scale = (_scale_by_length if scaling == "length" else _scale_by_diagonal)(vectors)
    if not np.isfinite(scale).all():
        raise TrainingError(
            f"ease: an item is predicted by itself; raise train.ease.regularization "
            f"(now {regularization:g})"
        )
    total = np.square(weighted.data, dtype=np.float64).sum()
    figures = {
        "rank": float(len(principal.energies)),
        "explained_share": float(principal.energies.sum() / total),
    }
    return TrainedModel(EaseModel(vectors, scale, weights), [], figures, device=chosen)


def _weigh(ratings: Csr, weights: RatingWeights, exponent: float) -> Csr:
    """X with each user's row times (n / mean n)^-b, CSR float32 without zeros."""
    weighted = weights.weigh(ratings, least=0.0)
    counts = np.diff(weighted.indptr)
    weighted.data *= np.repeat(damp_counts(counts, exponent), counts).astype(np.float32)
    weighted.eliminate_zeros()
    return weighted


def _scale_by_diagonal(vectors: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Vectors and scale as EASE does; an item predicted by itself gets an infinite scale."""
    remainder = 1.0 - np.square(vectors, dtype=np.float64).sum(axis=1)
    scale = np.divide(
        1.0, remainder, out=np.full(len(vectors), np.inf), where=remainder > _ROUNDING
    )
    return vectors, scale.astype(np.float32)


def _scale_by_length(vectors: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Vectors over the roots of their lengths, and a scale of ones."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    roots = np.sqrt(np.where(lengths > 0, lengths, 1.0))
    return (vectors / roots).astype(np.float32), np.ones(len(vectors), np.float32)
