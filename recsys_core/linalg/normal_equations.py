"""The normal equations of each user's ratings, compiled.

A user's factors p minimise |A p - t|^2 + p'(G + ridge I)p, where A [n, n_columns] are the rated
items' rows of the item factors, t [n] their targets, and G is the Gram matrix that all users share.
A user of many ratings is solved for in the primal, one of few in the dual:

    (A'A + G + ridge I) p = A't                n_columns equations, see ``primal_solver``
    (A D^-1 A' + I) w = t,  p = D^-1 A'w       n equations, see ``dual_solver``

Systems are solved in float32 where the result is that of float64, see ``mixed_precision``.
"""

from typing import NamedTuple, Self

import numpy as np

from recsys_core.arrays import BoolArray, Float64Array, FloatArray, Int32Array, Int64Array
from recsys_core.compile.jit import compiled, compiled_unlocked
from recsys_core.compile.padding import pad_columns
from recsys_core.linalg.dual_solver import solve_dual
from recsys_core.linalg.primal_solver import solve_primal
from recsys_core.linalg.workspace import Workspace, create_workspace

_DUAL_OVERHEAD = 24
"""How many ratings fewer than columns it takes for the dual, which is smaller, to be quicker."""


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


@compiled_unlocked
def solve_users(
    shared: SharedGram,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    starts: Int64Array,
    ridges: Float64Array,
    solutions: FloatArray,
    minima: Float64Array,
) -> None:
    """Solve for each user, into rows of zeros.

    Args:
        indptr: int64 [n_users + 1]; a user's ratings are entries indptr[u] to indptr[u + 1].
        items: int32 [n_ratings].
        targets: float64; a user's are those from starts[u] on.
        starts: int64 [n_users].
        ridges: float64 [n_users], above 0.
        solutions: float32 or float64 [n_users, n_columns].
        minima: float64 [n_users]: what is left of each user's sum at the minimum.
    """
    width, done = shared.factors.shape[1], np.zeros(len(ridges), np.bool_)
    users = indptr, items, targets, starts, ridges, done, solutions, minima
    solve_unsolved(create_workspace(width, np.float32), shared, *users)
    if not done.all():
        solve_unsolved(create_workspace(width, np.float64), shared, *users)


@compiled
def solve_unsolved(
    work: Workspace,
    shared: SharedGram,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    starts: Int64Array,
    ridges: Float64Array,
    done: BoolArray,
    solutions: FloatArray,
    minima: Float64Array,
) -> None:
    """Solve for those users who are not done, with systems of the type of the workspace.

    ``done`` then says for whom this type of numbers did; the others are as ``solve_users``.
    """
    # An array taken out of a tuple is reference-counted, in memory that all threads of ALS share:
    # not once for each user. Those of the workspace are the thread's own.
    factors, gram, rotated_factors, eigenvectors, eigenvalues = shared
    solution, size = work.solution, len(eigenvalues)
    for user in range(len(ridges)):
        n_ratings, ridge = indptr[user + 1] - indptr[user], ridges[user]
        if done[user] or n_ratings == 0:
            done[user] = True
            continue
        rated = items[indptr[user] : indptr[user + 1]]
        wanted = targets[starts[user] : starts[user] + n_ratings]
        if n_ratings + _DUAL_OVERHEAD < size:
            done[user], minima[user] = solve_dual(
                rotated_factors, rated, wanted, eigenvectors, eigenvalues, ridge, work
            )
        else:
            least = eigenvalues[0] + ridge
            done[user], minima[user] = solve_primal(
                factors, size, rated, wanted, gram, ridge, least, work
            )
        for column in range(size):
            solutions[user, column] = solution[column]
