"""Ridge regression of each user's ratings on the factors of the items rated, compiled.

(A'A + lambda n I) p = A'r, where A [n, n_columns] are the rated items' rows of the design.
"""

from itertools import pairwise

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.linalg.normal_equations import solve_users
from recsys_core.linalg.user_systems import SharedGram


def solve_ridge(
    design: Float32Array | Float64Array,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    regularization: float,
) -> Float64Array:
    """Solve one regression for each user.

    Args:
        design: float32 or float64 [n_items, n_columns]. Results are those of float64 for both;
            float32 is half as much to fetch. What ``pad_columns`` returned is not copied.
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
        shared, counts = SharedGram.zero(design), np.diff(indptr)
        ridges, minima = regularization * counts, np.empty(len(counts))
        solve_users(shared, indptr, items, None, targets, indptr[:-1], ridges, solutions, minima)
    return solutions
