"""Sums of item factors over a user's ratings, compiled."""

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.compiled import compiled
from recsys_core.csr import split_csr


def project(ratings: Csr, factors: Float32Array) -> Float64Array:
    """``ratings @ factors`` in float64.

    Args:
        ratings: CSR [n_users, n_items]; taken as float32.
        factors: float32 [n_items, n_columns].

    Returns:
        Float64 [n_users, n_columns]. Each row depends on that row of ``ratings`` alone, bit for
        bit, and on the order of its entries.
    """
    sums = np.zeros((ratings.shape[0], factors.shape[1]))
    _project(*split_csr(ratings), np.require(factors, np.float32, ["C", "W"]), sums)
    return sums


@compiled
def _project(
    indptr: Int64Array,
    items: Int32Array,
    values: Float32Array,
    factors: Float32Array,
    sums: Float64Array,
) -> None:
    for user in range(len(sums)):
        start, stop = indptr[user], indptr[user + 1]
        whole = start + (stop - start) // 4 * 4
        for at in range(start, whole, 4):  # four at a time: fewer passes over the sums
            a, b, c, d = items[at], items[at + 1], items[at + 2], items[at + 3]
            p, q, r, s = values[at], values[at + 1], values[at + 2], values[at + 3]
            for column in range(sums.shape[1]):
                sums[user, column] += (
                    np.float64(p) * factors[a, column] + np.float64(q) * factors[b, column]
                ) + (np.float64(r) * factors[c, column] + np.float64(s) * factors[d, column])
        for at in range(whole, stop):
            for column in range(sums.shape[1]):
                sums[user, column] += np.float64(values[at]) * factors[items[at], column]
