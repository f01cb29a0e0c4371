"""Scratch arrays for the solution of one user's normal equations after the other, compiled."""

from typing import Any, NamedTuple

import numpy as np

from recsys_core.arrays import Float64Array, FloatArray
from recsys_core.compile.jit import compiled
from recsys_core.compile.tiles import count_lanes

_MOST_LANES = 16
"""Numbers in a line of the cache, of the smaller type."""


class Workspace(NamedTuple):
    """Scratch of one thread. Systems are summed and factorized in the type of ``system``.

    Width is the number of columns, padded to whole vectors. Padding of a system's order is never
    cleared from user to user: it is multiplied with zeros, and needs only to be finite.
    """

    # float32 or float64
    system: FloatArray  # [width, width + lanes]: the matrix, then its Cholesky factor
    rated: FloatArray  # [width, width + lanes]: a scaled rated item in each column (dual)
    rhs: FloatArray  # [width]: the right-hand side, then the solution
    halfway: FloatArray  # [width]: between the two triangular solves
    narrow_scales: FloatArray  # [width]: ``scales``
    # float64
    scales: Float64Array  # [width]: D^-1/2 (dual)
    weights: Float64Array  # [width]: the dual variables w
    rotated_solution: Float64Array  # [width]: p along the eigenvectors of G (dual)
    solution: Float64Array  # [width]: p
    residual: Float64Array  # [width]: what the solution leaves of the right-hand side
    errors: Float64Array  # [width]: targets less predictions, a group at a time (primal)


@compiled
def create_workspace(width: int, dtype: type[np.floating[Any]]) -> Workspace:
    """All zero, but for the scales: padding has scales too, of columns that are zero."""
    rhs = _allocate(width, dtype)
    # Rows of a power of two numbers would put a column in a few sets of the cache.
    longer = width + count_lanes(rhs)
    return Workspace(
        system=_allocate(width * longer, dtype).reshape((width, longer)),
        rated=_allocate(width * longer, dtype).reshape((width, longer)),
        rhs=rhs,
        halfway=_allocate(width, dtype),
        narrow_scales=_allocate(width, dtype),
        scales=np.ones(width),
        weights=np.zeros(width),
        rotated_solution=np.zeros(width),
        solution=np.zeros(width),
        residual=np.zeros(width),
        errors=np.zeros(width),
    )


@compiled
def _allocate(size: int, dtype: type[np.floating[Any]]) -> FloatArray:
    """Zeros from the start of a cache line on: a vector across two is two to load."""
    numbers = np.zeros(size + _MOST_LANES, dtype)
    first = -(numbers.ctypes.data // numbers.itemsize) % count_lanes(numbers)
    return numbers[first : first + size]
