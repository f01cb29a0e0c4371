"""The directions of item space that hold most of a 0/1 matrix, by a block Krylov method in torch.

For ratings X the matrix X'X is never formed: it is only ever multiplied with a few vectors, as
X'(X v). Rank F costs a basis of [n_items, 3 F + 128] float32, and [n_users, 64] for one product.

The basis is that of Golub and Underwood, *The Block Lanczos Method for Computing Eigenvalues*,
1977, fully orthogonalised; why a random start finds the largest directions in a few products is in
Musco and Musco, *Randomized Block Krylov Methods for Stronger and Faster Approximate Singular Value
Decomposition*, NIPS 2015.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array, Float64Array

if TYPE_CHECKING:
    import torch

_BLOCK = 32
"""Vectors that enter the basis together: fewer need fewer products in all, more are faster each."""
_COLUMNS_AT_ONCE = 64
"""Vectors multiplied at once: bounds the memory of X v."""
_BASIS_PER_DIRECTION = 3
_BASIS_ON_TOP = 4 * _BLOCK
"""Basis vectors for each direction wanted, and on top of these: the sum of the energies is then
right to about a thousandth."""
_JITTER = 1e-5
"""Noise in each block, relative to it: where X has no further direction, the basis goes on with a
random one, and not with rounding errors, which need not be orthogonal to it."""
_WORK_FOR_THREADS = 3e10
"""Multiplications from which several CPU threads are used: seconds for one. On a machine that has
other work, threads wait for each other at every step, which takes many times longer."""
_NOISE = 1e-6
"""A direction with less energy than this, relative to the largest, is rounding error."""


@dataclass(frozen=True)
class ItemSpace:
    """Orthonormal directions v of item space and the energy |X v|^2 of each."""

    directions: Float32Array
    """Float32 [n_items, n_directions], orthonormal columns; the largest entry of each is > 0."""
    energies: Float64Array
    """Float64 [n_directions], positive, descending: squared singular values."""


def find_item_space(
    seen: Csr, n_directions: int, *, popularity_exponent: float, seed: int, device: str
) -> ItemSpace:
    """The space of the first singular vectors of X D^-a, and X's principal directions within it.

    D holds the number of users of each item. With a = 0 these are the singular vectors of X, which
    tell popular items apart in detail and leave most others out. The larger a, the more of the
    space is for items of few users. Energies are those of X itself whatever a is.

    Args:
        seen: CSR float32 [n_users, n_items] of ones, at least one stored.
        n_directions: how many are wanted; fewer come back where X has a lower rank.
        popularity_exponent: a, from 0 to 1.
        seed: of the start; drawn on the CPU, so it is the same on every device.
        device: ``cpu`` or ``cuda``.
    """
    import torch  # only the trainer needs torch

    n_directions = min(n_directions, *seen.shape)
    if n_directions == min(seen.shape):
        popularity_exponent = 0.0  # there is nothing to choose
    counts = np.maximum(np.bincount(seen.indices, minlength=seen.shape[1]), 1)
    n_basis = _BASIS_PER_DIRECTION * n_directions + _BASIS_ON_TOP
    work = n_basis * (seen.nnz + n_basis * seen.shape[1])
    with torch.inference_mode(), _threads(1 if work < _WORK_FOR_THREADS else None):
        gram = _Gram.of(seen, counts**-popularity_exponent, device)
        if n_basis < min(seen.shape):
            basis = _grow_basis(gram, n_basis, torch.Generator().manual_seed(seed))
        else:
            basis = gram.span_everything()
        vectors, energies = _rotate(gram, basis, n_directions)
        if popularity_exponent:
            vectors, energies = _rotate(gram.without_weights(), vectors, n_directions)
        vectors *= torch.where(vectors.amax(0) >= -vectors.amin(0), 1.0, -1.0)
        return ItemSpace(vectors.cpu().numpy(), energies.cpu().numpy())


@contextlib.contextmanager
def _threads(n_threads: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads, or as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class _Gram:
    """W X'X W for a diagonal W, without being formed."""

    rows: "torch.Tensor"  # sparse CSR float32 [n_users, n_items]: X
    columns: "torch.Tensor"  # sparse CSR float32 [n_items, n_users]: X'
    weights: "torch.Tensor"  # float32 [n_items, 1]: the diagonal of W

    @classmethod
    def of(cls, seen: Csr, weights: Float64Array, device: str) -> Self:
        import torch

        column = torch.from_numpy(weights.astype(np.float32)).unsqueeze(1).to(device)
        return cls(_to_torch(seen, device), _to_torch(seen.T.tocsr(), device), column)

    def without_weights(self) -> "_Gram":
        import torch

        return _Gram(self.rows, self.columns, torch.ones_like(self.weights))

    def multiply(self, vectors: "torch.Tensor") -> "torch.Tensor":
        """W X'X W v for the columns v of float32 [n_items, n_vectors]."""
        import torch

        parts = (
            self.columns @ (self.rows @ (self.weights * part))
            for part in torch.split(vectors, _COLUMNS_AT_ONCE, dim=1)
        )
        return self.weights * torch.cat(list(parts), dim=1)

    def span_everything(self) -> "torch.Tensor":
        """An orthonormal basis of all that W X' can reach, [n_items, min(n_users, n_items)]."""
        import torch

        n_users, n_items = self.rows.shape
        if n_items <= n_users:
            return torch.eye(n_items, device=self.weights.device)
        basis: torch.Tensor = torch.linalg.qr(self.weights * self.columns.to_dense()).Q
        return basis


def _to_torch(matrix: csr_matrix, device: str) -> "torch.Tensor":
    import torch

    index_type = np.int32 if max(matrix.nnz, *matrix.shape) < 2**31 else np.int64
    indptr, indices = (
        torch.from_numpy(array.astype(index_type)) for array in (matrix.indptr, matrix.indices)
    )
    values = torch.ones(matrix.nnz)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            indptr, indices, values, matrix.shape, check_invariants=False
        ).to(device)


def _grow_basis(gram: _Gram, n_basis: int, generator: "torch.Generator") -> "torch.Tensor":
    """Orthonormal [n_items, n_basis] that spans v, Gv, GGv, ... for a block v of random vectors."""
    import torch

    basis = torch.empty(len(gram.weights), n_basis, device=gram.weights.device)
    block = torch.randn(len(basis), _BLOCK, generator=generator).to(basis)
    for start in range(0, n_basis, _BLOCK):
        found = basis[:, :start]
        block = gram.multiply(block)
        noise = torch.randn(block.shape, generator=generator).to(block)
        block += _JITTER * block.square().mean().sqrt() * noise
        block = block[:, : n_basis - start]
        for _ in range(2):  # once leaves rounding errors, which grow from block to block
            rest = block - found @ (found.T @ block)
            with _threads(1):  # QR goes column by column, each of microseconds
                block = torch.linalg.qr(rest).Q
        basis[:, start : start + _BLOCK] = block
    return basis


def _rotate(
    gram: _Gram, basis: "torch.Tensor", n_directions: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The principal directions of the matrix within a space (Rayleigh-Ritz), largest first.

    Args:
        basis: float32 [n_items, n_basis], orthonormal.

    Returns:
        Directions, float32 [n_items, at most n_directions], and energies, float64; without those
        that are zero up to rounding.
    """
    import torch

    projected = (basis.T @ gram.multiply(basis)).double()
    energies, rotation = torch.linalg.eigh((projected + projected.T) / 2)
    energies, rotation = energies.flip(0)[:n_directions], rotation.flip(1)[:, :n_directions]
    kept = energies > _NOISE * energies[0]
    return basis @ rotation[:, kept].to(basis), energies[kept]
