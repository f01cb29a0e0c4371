"""Normal equations in the dual, compiled: an equation for each of a user's ratings.

    (A D^-1 A' + I) w = t,  p = D^-1 A'w

where G + ridge I = D is a diagonal, as it is along the eigenvectors of G. With B = A D^-1/2 the
system is B B' + I: no eigenvalue of it is below 1. What is minimised is t'w there.
"""

import numpy as np

from recsys_core.arrays import Float64Array, FloatArray, Int32Array
from recsys_core.compile.gathered_rows import GROUP, add_group, copy_transposed, multiply_group
from recsys_core.compile.jit import compiled
from recsys_core.compile.vector_size import count_lanes
from recsys_core.linalg.cholesky import add_gram, factorize, solve, start_gram
from recsys_core.linalg.mixed_precision import add_correction, is_well_conditioned
from recsys_core.linalg.user_systems import SharedGram, UserSystems, Workspace
from recsys_core.linalg.vector_loops import add_combination, copy, dot, set_zero


@compiled
def solve_dual(shared: SharedGram, users: UserSystems, most: int, work: Workspace) -> None:
    """Solve for the users of at most so many ratings who are not done.

    Left as they are: those whose systems are beyond the workspace's type of numbers.
    """
    factors, eigenvectors = shared.rotated_factors, shared.eigenvectors
    eigenvalues, size = shared.eigenvalues, len(shared.eigenvalues)
    indptr, items, targets, starts = users.indptr, users.items, users.targets, users.starts
    ridges, solutions, minima, done = users.ridges, users.solutions, users.minima, users.done
    system, columns, rhs, halfway = work.system, work.columns, work.rhs, work.halfway
    scales, narrow_scales, weights = work.scales, work.narrow_scales, work.weights
    rotated, solution, residual = work.rotated_solution, work.solution, work.residual
    for user in range(len(ridges)):
        n = indptr[user + 1] - indptr[user]
        if done[user] or n > most:
            continue
        rated = items[indptr[user] : indptr[user + 1]]
        wanted = targets[starts[user] : starts[user] + n]
        for column in range(size):
            scales[column] = 1.0 / np.sqrt(eigenvalues[column] + ridges[user])
        copy(scales, len(scales), narrow_scales)
        _sum_system(factors, rated, narrow_scales, columns, system)
        if not is_well_conditioned(system, n, 1.0):
            continue
        factorize(system, n)
        set_zero(rhs)
        copy(wanted, n, rhs)
        solve(system, n, rhs, halfway)
        set_zero(weights)
        add_correction(rhs, n, weights)
        _combine_items(factors, rated, scales, weights, rotated)
        _compute_residual(factors, rated, wanted, weights, rotated, residual)
        copy(residual, n, rhs)
        solve(system, n, rhs, halfway)
        done[user] = add_correction(rhs, n, weights)
        minima[user] = dot(wanted, weights, n)
        _combine_items(factors, rated, scales, weights, rotated)
        _rotate_back(eigenvectors, rotated, solution)
        for column in range(size):
            solutions[user, column] = solution[column]


@compiled
def _sum_system(
    factors: FloatArray,
    rated: Int32Array,
    scales: FloatArray,
    columns: FloatArray,
    system: FloatArray,
) -> None:
    """columns = B', system = B B' + I."""
    n = len(rated)
    for at in range(0, n, count_lanes(columns)):
        copy_transposed(columns, at, factors, rated, n, scales)
    start_gram(system, n, 1.0)
    add_gram(system, n, columns, None, 0, len(scales))


@compiled
def _combine_items(
    factors: FloatArray,
    rated: Int32Array,
    scales: Float64Array,
    weights: Float64Array,
    solution: Float64Array,
) -> None:
    """p = D^-1 A'w, along the eigenvectors."""
    set_zero(solution)
    for at in range(0, len(rated), GROUP):
        add_group(factors, rated, at, len(rated), weights, at, solution)
    for column in range(len(solution)):
        solution[column] *= scales[column] * scales[column]


@compiled
def _compute_residual(
    factors: FloatArray,
    rated: Int32Array,
    targets: Float64Array,
    weights: Float64Array,
    solution: Float64Array,
    residual: Float64Array,
) -> None:
    """residual = t - A p - w."""
    for at in range(0, len(rated), GROUP):
        multiply_group(factors, rated, at, len(rated), solution, residual, at)
    for at in range(len(rated)):
        residual[at] = targets[at] - residual[at] - weights[at]


@compiled
def _rotate_back(
    eigenvectors: Float64Array, rotated_solution: Float64Array, solution: Float64Array
) -> None:
    """From coordinates along the eigenvectors to columns."""
    if len(eigenvectors) == 0:
        copy(rotated_solution, len(rotated_solution), solution)
    else:
        set_zero(solution)
        add_combination(eigenvectors, rotated_solution, solution)
