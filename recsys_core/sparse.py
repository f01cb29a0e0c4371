"""Sparse ratings as ones, and as the arrays that compiled functions know."""

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Csr, Float32Array, Float64Array, Int32Array, Int64Array


def split_csr(ratings: Csr) -> tuple[Int64Array, Int32Array, Float32Array]:
    """indptr, indices and data; copied only where they are of another type or read-only."""
    return (*split_pattern(ratings), np.require(ratings.data, np.float32, ["C", "W"]))


def split_pattern(ratings: Csr) -> tuple[Int64Array, Int32Array]:
    """indptr and indices: which entries are stored, zeros included."""
    indices = np.require(ratings.indices, np.int32, ["C", "W"])
    return ratings.indptr.astype(np.int64), indices


def mark_seen(ratings: Csr) -> Csr:
    """1 for each stored rating, zeros included; CSR float32 of the same shape."""
    ones = np.ones(ratings.nnz, dtype=np.float32)
    return csr_matrix((ones, ratings.indices, ratings.indptr), shape=ratings.shape)


def damp_counts(counts: Int64Array, exponent: float) -> Float64Array:
    """(n / mean n)^-exponent for counts n, the mean being over those above 0; 0 counts as 1."""
    damped: Float64Array = (np.maximum(counts, 1) / counts[counts > 0].mean()) ** -exponent
    return damped
