"""Ridge regression of each user's ratings on the factors of the items rated, compiled.

(A'A + lambda n I) p = A'r, where A [n, n_columns] are the rated items' rows of the design.
"""

from itertools import pairwise

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.cholesky import add_gram, factorize_tiles, padded, solve, start_gram
from recsys_core.compiled import compiled, compiled_sum

_ROWS = 32
"""Ratings gathered at once: what bounds memory, and at 64 columns fits the first cache."""
_STAGGER = 8
"""Columns added to each buffer: rows of 64 numbers would put a column in a few sets of the cache.
"""


def solve_ridge(
    design: Float32Array | Float64Array,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    regularization: float,
) -> Float64Array:
    """Solve one regression for each user.

    Args:
        design: float32 or float64 [n_items, n_columns]. Sums are float64 for both; float32 is half
            as much to fetch, which shows where the design is larger than the CPU's caches.
        indptr: int64 [n_users + 1]; a user's ratings are entries indptr[u] to indptr[u + 1].
        items: int32 [n_ratings].
        targets: float64 [n_ratings].
        regularization: lambda, in units of one rating. At 0 the shortest of the best solutions is
            taken, by least squares, one user at a time.

    Returns:
        Float64 [n_users, n_columns]; each row a function of the user's own entries, bit for bit.
    """
    solutions = np.zeros((len(indptr) - 1, design.shape[1]))
    if regularization == 0.0:
        for user, (start, end) in enumerate(pairwise(indptr)):
            rated = design[items[start:end]].astype(np.float64)
            solutions[user] = np.linalg.lstsq(rated, targets[start:end], rcond=None)[0]
    else:
        _solve_users(design, indptr, items, targets, regularization, solutions)
    return solutions


@compiled
def _solve_users(
    design: Float32Array | Float64Array,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    regularization: float,
    solutions: Float64Array,
) -> None:
    size = design.shape[1]
    # Shared by all users. What one leaves in the padding of the next bears on nothing, but has to
    # be a number: arithmetic on what memory held before may be slow.
    width = padded(size) + _STAGGER
    rated = np.zeros((max(_ROWS, size), width))
    gram = np.zeros((padded(size), width))
    weights = np.zeros(size)
    for user in range(len(solutions)):
        start, stop = indptr[user], indptr[user + 1]
        # A user without ratings still gets a regular system, whose solution is zero.
        ridge = regularization * max(stop - start, 1)
        if stop - start < size:
            _solve_dual(
                design,
                items[start:stop],
                targets[start:stop],
                ridge,
                rated,
                gram,
                weights,
                solutions[user],
            )
        else:
            _solve_primal(
                design, items[start:stop], targets[start:stop], ridge, rated, gram, solutions[user]
            )


@compiled
def _solve_dual(
    design: Float32Array | Float64Array,
    items: Int32Array,
    targets: Float64Array,
    ridge: float,
    rated: Float64Array,
    gram: Float64Array,
    weights: Float64Array,
    solution: Float64Array,
) -> None:
    """p = A'(AA' + ridge I)^-1 r: the smaller system where ratings are fewer than columns."""
    n = len(items)
    _gather_transposed(design, items, rated)
    for at in range(n):
        weights[at] = targets[at]
    start_gram(gram, n, ridge)
    add_gram(gram, n, rated, len(solution))
    factorize_tiles(gram, n)
    solve(gram, n, weights)
    for column in range(len(solution)):
        solution[column] = _inner(rated, column, weights, n)


@compiled
def _solve_primal(
    design: Float32Array | Float64Array,
    items: Int32Array,
    targets: Float64Array,
    ridge: float,
    rated: Float64Array,
    gram: Float64Array,
    solution: Float64Array,
) -> None:
    """p = (A'A + ridge I)^-1 A'r, A taken ``_ROWS`` ratings at a time: memory is bounded."""
    size = len(solution)
    start_gram(gram, size, ridge)
    for start in range(0, len(items), _ROWS):
        count = min(_ROWS, len(items) - start)
        _gather(design, items, targets, start, count, rated, solution)
        add_gram(gram, size, rated, count)
    factorize_tiles(gram, size)
    solve(gram, size, solution)


@compiled
def _gather(
    design: Float32Array | Float64Array,
    items: Int32Array,
    targets: Float64Array,
    start: int,
    count: int,
    rated: Float64Array,
    projection: Float64Array,
) -> None:
    """Copy the rated rows of the design to ``rated``, and add their sum, weighted, to A'r."""
    for at in range(count):
        item = items[start + at]
        for column in range(len(projection)):
            rated[at, column] = design[item, column]
    whole = count // 4 * 4
    for at in range(0, whole, 4):  # four at a time: fewer passes over the sums
        p, q = targets[start + at], targets[start + at + 1]
        r, s = targets[start + at + 2], targets[start + at + 3]
        for column in range(len(projection)):
            projection[column] += (p * rated[at, column] + q * rated[at + 1, column]) + (
                r * rated[at + 2, column] + s * rated[at + 3, column]
            )
    for at in range(whole, count):
        for column in range(len(projection)):
            projection[column] += targets[start + at] * rated[at, column]


@compiled
def _gather_transposed(
    design: Float32Array | Float64Array, items: Int32Array, rated: Float64Array
) -> None:
    for at in range(len(items)):
        for column in range(design.shape[1]):
            rated[column, at] = design[items[at], column]


@compiled_sum
def _inner(left: Float64Array, row: int, right: Float64Array, size: int) -> float:
    total = 0.0
    for at in range(size):
        total += left[row, at] * right[at]
    return total
