"""Sums of item factors over a user's ratings, compiled."""

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.compile.gathered_rows import GROUP, add_group
from recsys_core.compile.jit import compiled
from recsys_core.compile.padding import pad_columns
from recsys_core.sparse import split_csr


def project(ratings: Csr, factors: Float32Array) -> Float64Array:
    """``ratings @ factors`` in float64.

    Args:
        ratings: CSR [n_users, n_items]; taken as float32.
        factors: float32 [n_items, n_columns]; whole vectors of columns are not copied.

    Returns:
        Float64 [n_users, n_columns]. Each row depends on that row of ``ratings`` alone, bit for
        bit, and on the order of its entries.
    """
    matrix = pad_columns(factors, aligned=False)
    sums = np.zeros((ratings.shape[0], matrix.shape[1]))
    _project(*split_csr(ratings), matrix, sums)
    return sums[:, : factors.shape[1]]


@compiled
def _project(
    indptr: Int64Array,
    items: Int32Array,
    values: Float32Array,
    factors: Float32Array,
    sums: Float64Array,
) -> None:
    for user in range(len(sums)):
        stop = indptr[user + 1]
        for at in range(indptr[user], stop, GROUP):
            add_group(factors, items, at, stop, values, at, sums[user])
