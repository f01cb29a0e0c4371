"""Cholesky factorization and its triangular solves, compiled, for the small systems of one user.

A = U'U, U upper triangular. Every inner loop runs along a row, which is what vectorises.
"""

import numpy as np

from recsys_core.arrays import Float64Array
from recsys_core.compiled import compiled, compiled_sum

DEPENDENT = 1e-14
"""A pivot this much smaller than its diagonal entry is rounding: the column depends on others."""


@compiled
def factorize(matrix: Float64Array, size: int) -> int:
    """Replace the upper triangle of matrix[:size, :size] by U.

    A column that depends on those before it gets a zero row in U, and ``solve`` gives it the value
    0: a solution of a system that has many.

    Returns:
        How many columns are dependent.
    """
    dependent = 0
    for k in range(size):
        pivot = matrix[k, k]
        # Row k less what the rows above account for, four at a time: the loops are so short that
        # starting them costs more than what is in them.
        for a in range(0, k - 3, 4):
            first, second, third, fourth = (
                matrix[a, k],
                matrix[a + 1, k],
                matrix[a + 2, k],
                matrix[a + 3, k],
            )
            for column in range(k, size):
                matrix[k, column] -= (
                    first * matrix[a, column] + second * matrix[a + 1, column]
                ) + (third * matrix[a + 2, column] + fourth * matrix[a + 3, column])
        for above in range(k - k % 4, k):
            factor = matrix[above, k]
            for column in range(k, size):
                matrix[k, column] -= factor * matrix[above, column]
        if matrix[k, k] <= DEPENDENT * pivot:
            scale = 0.0
            dependent += 1
        else:
            scale = 1.0 / np.sqrt(matrix[k, k])
        for column in range(k, size):
            matrix[k, column] *= scale
    return dependent


@compiled
def solve(upper: Float64Array, size: int, target: Float64Array) -> None:
    """Solve U'U x = target[:size] in place."""
    for k in range(size):
        if upper[k, k] == 0.0:
            target[k] = 0.0
            continue
        target[k] /= upper[k, k]
        value = target[k]
        for column in range(k + 1, size):
            target[column] -= value * upper[k, column]
    for k in range(size - 1, -1, -1):
        if upper[k, k] != 0.0:
            target[k] = (target[k] - _inner_from(k + 1, size, upper, k, target)) / upper[k, k]


@compiled_sum
def _inner_from(start: int, stop: int, upper: Float64Array, row: int, right: Float64Array) -> float:
    total = 0.0
    for at in range(start, stop):
        total += upper[row, at] * right[at]
    return total
