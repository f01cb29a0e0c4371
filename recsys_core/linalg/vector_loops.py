"""Loops over vectors, compiled: inner product, copy, zero, and a combination of a matrix's rows.

As BLAS has them (dot, copy, gemv), but of mixed types and without the cost of a call.
"""

import numpy as np

from recsys_core.arrays import Float64Array, FloatArray
from recsys_core.compile.gathered_rows import add_rows
from recsys_core.compile.jit import compiled, compiled_sum


@compiled_sum
def dot(left: FloatArray, right: FloatArray, size: int) -> float:
    """left[:size] . right[:size] in float64."""
    total = 0.0
    for at in range(size):
        total += np.float64(left[at]) * np.float64(right[at])
    return total


@compiled
def copy(source: FloatArray, size: int, into: FloatArray) -> None:
    """into[:size] = source[:size], converted."""
    for at in range(size):
        into[at] = source[at]


@compiled
def set_zero(vector: FloatArray) -> None:
    """Set all to zero. An assignment to a slice takes longer to begin than to do."""
    for at in range(len(vector)):
        vector[at] = 0.0


@compiled
def add_combination(matrix: Float64Array, factors: Float64Array, total: Float64Array) -> None:
    """total += factors matrix.

    Args:
        matrix: [n_rows, width]; n_rows is a multiple of 4.
        factors: [n_rows].
        total: [width].
    """
    for row in range(0, len(matrix), 4):
        rows = row, row + 1, row + 2, row + 3
        p, q, r, s = factors[row], factors[row + 1], factors[row + 2], factors[row + 3]
        add_rows(total, 0, len(total), matrix, rows, (p, q, r, s))
