"""Gram matrices, Cholesky factorization and its triangular solves, compiled, for one user's system.

A = U'U, U upper triangular, of float32 or float64.
"""

import numpy as np

from recsys_core.arrays import FloatArray, Int32Array
from recsys_core.compile.gram_tile import add_tile
from recsys_core.compile.jit import compiled
from recsys_core.compile.triangular_blocks import (
    finish_rows,
    invert_block,
    multiply_block,
    read_diagonal,
    solve_block,
    subtract_block,
)
from recsys_core.compile.vector_size import count_lanes

DEPENDENT = 1e-14
"""A pivot this much smaller than its diagonal entry is rounding: the column depends on others."""

_TILE_ROWS = 8
"""Rows of a matrix product summed at once. With two vectors to a row these are 16 sums, which keep
two multipliers of latency four busy and leave registers for what is multiplied."""
_CHUNK = 64
"""Rows whose products are summed over all tiles before the next: 64 columns of them fit L1."""


@compiled
def factorize(matrix: FloatArray, size: int) -> None:
    """Replace the upper triangle of matrix[:size, :size] by U, its diagonal blocks inverted.

    A block is a vector wide and high. A column that depends on those before it gets a zero row in
    U, and ``solve`` gives it the value 0: a solution of a system that has many.

    Args:
        matrix: both sides padded(size) or more. The lower triangle is overwritten. The padding is
            zero but for its diagonal, which is positive.
    """
    for first in range(0, size, _TILE_ROWS):
        pivots = read_diagonal(matrix, first, _TILE_ROWS)
        _add_tiles(matrix, size, first, matrix, None, None, 0, first, -1.0)
        finish_rows(matrix, first, size, pivots, DEPENDENT)
    for first in range(0, size, count_lanes(matrix)):
        invert_block(matrix, first)


@compiled
def padded(matrix: FloatArray, size: int) -> int:
    """The length of whole vectors that hold ``size`` numbers."""
    lanes: int = count_lanes(matrix)
    return (size + lanes - 1) // lanes * lanes


@compiled
def start_gram(gram: FloatArray, size: int, ridge: float) -> None:
    """Set what ``add_gram`` adds to: ``ridge`` times the identity, padding included."""
    lanes, stop = count_lanes(gram), padded(gram, size)
    for row in range(stop):
        for column in range(np.uintp(row - row % lanes), np.uintp(stop)):
            gram[row, column] = 0.0
        gram[row, row] = ridge


@compiled
def add_gram(
    gram: FloatArray,
    size: int,
    matrix: FloatArray,
    rows: Int32Array | None,
    weights: FloatArray | None,
    start: int,
    stop: int,
) -> None:
    """Add taken' W taken to the upper triangle of gram[:size, :size].

    What is taken is matrix[rows[start:stop]], or matrix[start:stop] where ``rows`` is None. The
    diagonal of W is weights[start:stop]; where ``weights`` is None, W = I.

    Args:
        gram: both sides padded(size) or more; the lower triangle is overwritten.
        matrix: [.., padded(size) or more], zero in the padding.
    """
    for first in range(start, stop, _CHUNK):
        end = min(first + _CHUNK, stop)
        for row in range(0, size, _TILE_ROWS):
            _add_tiles(gram, size, row, matrix, rows, weights, first, end, 1.0)


@compiled
def _add_tiles(
    total: FloatArray,
    size: int,
    row: int,
    matrix: FloatArray,
    rows: Int32Array | None,
    weights: FloatArray | None,
    start: int,
    stop: int,
    factor: float,
) -> None:
    """Add factor * taken' W taken, as in ``add_gram``, to _TILE_ROWS rows of total from ``row``."""
    lanes = count_lanes(total)
    column = row - row % lanes
    while column + lanes < size:
        add_tile(total, row, column, matrix, rows, weights, start, stop, factor, _TILE_ROWS, 2)
        column += 2 * lanes
    if column < size:
        add_tile(total, row, column, matrix, rows, weights, start, stop, factor, _TILE_ROWS, 1)


@compiled
def solve(upper: FloatArray, size: int, target: FloatArray, halfway: FloatArray) -> None:
    """Solve U'U x = target[:size] in place, U being what ``factorize`` leaves.

    Args:
        target: [padded(size) or more], zero in the padding.
        halfway: scratch of the same length.
    """
    lanes = count_lanes(upper)
    for first in range(0, size, lanes):
        multiply_block(upper, first, target, halfway)
        subtract_block(upper, first, size, halfway, target)
    for first in range((size - 1) // lanes * lanes, -1, -lanes):
        solve_block(upper, first, size, halfway, target)
