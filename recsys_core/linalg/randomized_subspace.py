"""A few directions of item space that hold most of a sparse matrix: randomized subspace iteration.

For ratings X the matrix X'X is never formed: it is only ever multiplied with a few vectors, as
X'(X v) in torch, which takes the memory of [n_items, F] and [n_users, 64] float32.

Halko, Martinsson and Tropp, *Finding Structure with Randomness*, SIAM Review 53(2), 2011. A random
start and one or two multiplications give directions that mix the largest singular vectors with some
of those after them. That is not only quicker than the exact ones: where the rank is a small part of
the items it makes better lists, as the exact ones leave items of few ratings out.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Float64Array

if TYPE_CHECKING:
    import torch

_COLUMNS_AT_ONCE = 64
"""Vectors multiplied at once: bounds the memory of X v."""
_NOISE = 1e-6
"""A direction with less energy than this, relative to the largest, is rounding error."""


@dataclass(frozen=True)
class PrincipalDirections:
    """Orthonormal directions v of item space and the energy |X v|^2 of each, largest first."""

    directions: Float32Array
    """Float32 [n_items, n_directions], orthonormal columns; the largest entry of each is > 0."""
    energies: Float64Array
    """Float64 [n_directions], positive, descending."""


def find_principal_directions(
    weighted: Csr,
    n_directions: int,
    *,
    popularity_exponent: float,
    power_iterations: int,
    seed: int,
    device: str,
) -> PrincipalDirections:
    """A space near that of the first singular vectors of X D^-a, and X's own directions within it.

    D holds the number of ratings of each item. With a = 0 popular items are told apart in detail,
    and most others left out. The larger a, the more of the space is for items of few ratings.
    Directions and energies are those of X itself within the space, whatever a is.

    Args:
        weighted: X, CSR float32 [n_users, n_items], at least one entry stored, none of them zero.
        n_directions: how many are wanted; fewer come back where X has a lower rank.
        popularity_exponent: a, from 0 to 1.
        power_iterations: multiplications with X'X after the first with X'; the more, the nearer
            is the space to that of the singular vectors.
        seed: of the start; drawn on the CPU, so it is the same on every device.
        device: ``cpu`` or ``cuda``.
    """
    import torch  # only the trainer needs torch

    n_directions = min(n_directions, *weighted.shape)
    if n_directions == min(weighted.shape):
        popularity_exponent = 0.0  # there is nothing to choose
    counts = np.bincount(weighted.indices, minlength=weighted.shape[1])
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        ratings = _Ratings.of(weighted, device)
        weights = _as_column(np.maximum(counts, 1) ** -popularity_exponent, device)
        basis = torch.linalg.qr(weights * ratings.project(n_directions, generator)).Q
        for _ in range(power_iterations):
            basis = torch.linalg.qr(weights * ratings.multiply(weights * basis)).Q
        directions, energies = _rotate(ratings, basis)
        directions *= _as_column(counts > 0, device)  # exact zeros where rounding left others
        directions *= torch.where(directions.amax(0) >= -directions.amin(0), 1.0, -1.0)
        return PrincipalDirections(directions.cpu().numpy(), energies.cpu().numpy())


def _as_column(values: np.ndarray[Any, Any], device: str) -> "torch.Tensor":
    import torch

    return torch.from_numpy(values).float().unsqueeze(1).to(device)


def _rotate(ratings: "_Ratings", basis: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """The principal directions of the ratings within a space (Rayleigh-Ritz), largest first.

    Args:
        basis: float32 [n_items, n_basis], orthonormal.

    Returns:
        Directions, float32 [n_items, at most n_basis], and energies, float64; without those that
        are zero up to rounding.
    """
    import torch

    projected = (basis.T @ ratings.multiply(basis)).double()
    energies, rotation = torch.linalg.eigh((projected + projected.T) / 2)
    energies, rotation = energies.flip(0), rotation.flip(1)
    kept = energies > _NOISE * energies[0]
    return basis @ rotation[:, kept].to(basis), energies[kept]


@dataclass(frozen=True)
class _Ratings:
    """X and its transpose on a device."""

    rows: "torch.Tensor"  # sparse CSR float32 [n_users, n_items]: X
    columns: "torch.Tensor"  # sparse CSR float32 [n_items, n_users]: X'

    @classmethod
    def of(cls, ratings: Csr, device: str) -> Self:
        return cls(_to_torch(ratings, device), _to_torch(ratings.T.tocsr(), device))

    def project(self, n_vectors: int, generator: "torch.Generator") -> "torch.Tensor":
        """X'r for so many random vectors r of all users, float32 [n_items, n_vectors]."""
        import torch

        def project_part(n_columns: int) -> torch.Tensor:
            start = torch.randn(self.rows.shape[0], n_columns, generator=generator)
            product: torch.Tensor = self.columns @ start.to(self.columns.device)
            return product

        parts = [project_part(n_columns) for n_columns in _cut(n_vectors)]
        return torch.cat(parts, dim=1)

    def multiply(self, vectors: "torch.Tensor") -> "torch.Tensor":
        """X'X v for the columns v of float32 [n_items, n_vectors]."""
        import torch

        parts = torch.split(vectors, _COLUMNS_AT_ONCE, dim=1)
        return torch.cat([self.columns @ (self.rows @ part) for part in parts], dim=1)


def _cut(n_vectors: int) -> Iterator[int]:
    for start in range(0, n_vectors, _COLUMNS_AT_ONCE):
        yield min(_COLUMNS_AT_ONCE, n_vectors - start)


def _to_torch(matrix: Csr, device: str) -> "torch.Tensor":
    import torch

    index_type = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    indptr, indices = (
        torch.from_numpy(array.astype(index_type)) for array in (matrix.indptr, matrix.indices)
    )
    values = torch.from_numpy(matrix.data.astype(np.float32))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            indptr, indices, values, matrix.shape, check_invariants=False
        ).to(device)
