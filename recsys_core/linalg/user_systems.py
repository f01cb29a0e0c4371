"""What the solvers of many users' normal equations are given: shared Gram, ratings, scratch.

Compiled code counts the references of an array taken out of a tuple: take them out once, before the
loop over users.
"""

from typing import Any, NamedTuple, Self

import numpy as np

from recsys_core.arrays import (
    BoolArray,
    Float32Array,
    Float64Array,
    FloatArray,
    Int32Array,
    Int64Array,
)
from recsys_core.compile.jit import compiled
from recsys_core.compile.padding import pad_columns
from recsys_core.compile.vector_size import count_lanes

_MOST_LANES = 16
"""Numbers in a line of the cache, of the smaller type."""


class SharedGram(NamedTuple):
    """The item factors and their Gram matrix G, shared by the systems of all users.

    Rows are padded by ``pad_columns``. Along the eigenvectors of G it is a diagonal.
    """

    factors: FloatArray  # [n_items, width]
    gram: Float64Array  # [width, width]: G; empty where it is zero
    rotated_factors: FloatArray  # [n_items, width]: the factors along the eigenvectors
    eigenvectors: Float64Array  # [width, width]: one a row; empty where G is zero
    eigenvalues: Float64Array  # [n_columns]: ascending

    @classmethod
    def zero(cls, factors: FloatArray) -> Self:
        """G = 0: of factors [n_items, n_columns], each user's own ratings alone count."""
        padded, nothing = pad_columns(factors), np.empty((0, 0))
        return cls(padded, nothing, padded, nothing, np.zeros(factors.shape[1]))


class UserSystems(NamedTuple):
    """Users to solve for, and what is found."""

    indptr: Int64Array  # [n_users + 1]: a user's ratings are entries indptr[u] to indptr[u + 1]
    items: Int32Array  # [n_ratings]: which are rated
    confidences: Float32Array | None  # [n_ratings]: above 0; where it is None all are 1
    targets: Float64Array  # a user's are those from starts[u] on
    starts: Int64Array  # [n_users]
    ridges: Float64Array  # [n_users]: above 0
    solutions: FloatArray  # [n_users, n_columns]: p; rows of zeros before
    minima: Float64Array  # [n_users]: (A p - t)'C(A p - t) + p'(G + ridge I)p
    done: BoolArray  # [n_users]: whether the solution is exact


class Workspace(NamedTuple):
    """Scratch of one thread. Systems are summed and factorized in the type of ``system``.

    Width is the number of columns, padded to whole vectors. Padding of a system's order is never
    cleared from user to user: it is multiplied with zeros, and needs only to be finite.
    """

    # float32 or float64
    system: FloatArray  # [width, width + lanes]: the matrix, then its Cholesky factor
    columns: FloatArray  # [width, width + lanes]: a scaled rated item in each (dual)
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
        columns=_allocate(width * longer, dtype).reshape((width, longer)),
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
