"""Ridge regression of each user's ratings on the factors of the items rated, compiled.

(A'A + lambda n I) p = A'r, where A [n, n_columns] are the rated items' rows of the design.
"""

from itertools import pairwise

import numpy as np

from recsys_core.arrays import Float64Array, Int32Array, Int64Array
from recsys_core.cholesky import factorize, solve
from recsys_core.compiled import compiled

_ROWS = 256
"""Ratings gathered at once."""


def solve_ridge(
    design: Float64Array,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    regularization: float,
) -> Float64Array:
    """Solve one regression for each user.

    Args:
        design: float64 [n_items, n_columns].
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
            rated = design[items[start:end]]
            solutions[user] = np.linalg.lstsq(rated, targets[start:end], rcond=None)[0]
    else:
        _solve_users(design, indptr, items, targets, regularization, solutions)
    return solutions


@compiled
def _solve_users(
    design: Float64Array,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    regularization: float,
    solutions: Float64Array,
) -> None:
    size = design.shape[1]
    rated = np.empty((max(_ROWS, size), size))
    for user in range(len(solutions)):
        start, stop = indptr[user], indptr[user + 1]
        # A user without ratings still gets a regular system, whose solution is zero.
        ridge = regularization * max(stop - start, 1)
        if stop - start < size:
            _solve_dual(
                design, items[start:stop], targets[start:stop], ridge, rated, solutions[user]
            )
        else:
            _solve_primal(
                design, items[start:stop], targets[start:stop], ridge, rated, solutions[user]
            )


@compiled
def _solve_dual(
    design: Float64Array,
    items: Int32Array,
    targets: Float64Array,
    ridge: float,
    rated: Float64Array,
    solution: Float64Array,
) -> None:
    """p = A'(AA' + ridge I)^-1 r: the smaller system where ratings are fewer than columns."""
    n = len(items)
    _gather(design, items, rated)
    gram = np.dot(rated[:n], rated[:n].T)
    weights = targets.copy()
    _solve_ridged(gram, ridge, weights)
    for at in range(n):
        for column in range(len(solution)):
            solution[column] += weights[at] * rated[at, column]


@compiled
def _solve_primal(
    design: Float64Array,
    items: Int32Array,
    targets: Float64Array,
    ridge: float,
    rated: Float64Array,
    solution: Float64Array,
) -> None:
    """p = (A'A + ridge I)^-1 A'r, A taken ``_ROWS`` ratings at a time: memory is bounded."""
    gram = np.zeros((len(solution), len(solution)))
    for start in range(0, len(items), len(rated)):
        part = items[start : start + len(rated)]
        _gather(design, part, rated)
        gram += np.dot(rated[: len(part)].T, rated[: len(part)])
        for at in range(len(part)):
            for column in range(len(solution)):
                solution[column] += targets[start + at] * rated[at, column]
    _solve_ridged(gram, ridge, solution)


@compiled
def _gather(design: Float64Array, items: Int32Array, rated: Float64Array) -> None:
    for at in range(len(items)):
        for column in range(design.shape[1]):
            rated[at, column] = design[items[at], column]


@compiled
def _solve_ridged(gram: Float64Array, ridge: float, target: Float64Array) -> None:
    for place in range(len(target)):
        gram[place, place] += ridge
    factorize(gram, len(target))
    solve(gram, len(target), target)
