"""The normal equations of each user's ratings, compiled.

A user's factors p minimise (A p - t)'C(A p - t) + p'(G + ridge I)p, where A [n, n_columns] are the
rated items' rows of the item factors, t [n] their targets, C the diagonal matrix of how much each
counts (the confidences; I where there are none), and G the Gram matrix that all users share. A user
of many ratings is solved for in the primal, one of few in the dual:

    (A'C A + G + ridge I) p = A'C t                n_columns equations, see ``primal_solver``
    (A D^-1 A' + C^-1) w = t,  p = D^-1 A'w        n equations, see ``dual_solver``

Systems are solved in float32 where the result is that of float64, see ``mixed_precision``.
"""

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, FloatArray, Int32Array, Int64Array
from recsys_core.compile.jit import compiled, compiled_unlocked
from recsys_core.linalg.dual_solver import solve_dual
from recsys_core.linalg.primal_solver import solve_primal
from recsys_core.linalg.user_systems import SharedGram, UserSystems, Workspace, create_workspace

_DUAL_OVERHEAD = 24
"""How many ratings fewer than columns it takes for the dual, which is smaller, to be quicker."""


@compiled_unlocked
def solve_users(
    shared: SharedGram,
    indptr: Int64Array,
    items: Int32Array,
    confidences: Float32Array | None,
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
        confidences: float32 [n_ratings], above 0; None where all are 1.
        targets: float64; a user's are those from starts[u] on.
        starts: int64 [n_users].
        ridges: float64 [n_users], above 0.
        solutions: float32 or float64 [n_users, n_columns].
        minima: float64 [n_users]: what is left of each user's sum at the minimum.
    """
    done = indptr[1:] == indptr[:-1]  # nobody without ratings has anything to solve
    users = UserSystems(
        indptr, items, confidences, targets, starts, ridges, solutions, minima, done
    )
    width = shared.factors.shape[1]
    solve_remaining(shared, users, create_workspace(width, np.float32))
    if not done.all():
        solve_remaining(shared, users, create_workspace(width, np.float64))


@compiled
def solve_remaining(shared: SharedGram, users: UserSystems, work: Workspace) -> None:
    """Solve for those users who are not done, in the workspace's type of numbers.

    Float64 leaves nobody out; with float32 some may not be done after it.
    """
    fewest = max(len(shared.eigenvalues) - _DUAL_OVERHEAD, 0)
    solve_dual(shared, users, fewest - 1, work)
    solve_primal(shared, users, fewest, work)
