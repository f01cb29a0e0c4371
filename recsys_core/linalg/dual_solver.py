"""Normal equations in the dual, compiled: an equation for each of a user's ratings.

    (A D^-1 A' + C^-1) w = t,  p = D^-1 A'w

where G + ridge I = D is a diagonal, as it is along the eigenvectors of G. With B = A D^-1/2 the
system is B B' + C^-1: no eigenvalue of it is below 1 / the largest confidence, which is 1 where
C = I. As w = C (t - A p), what is minimised is t'w there.
"""

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, FloatArray, Int32Array
from recsys_core.compile.gathered_rows import GROUP, add_group, copy_transposed, multiply_group
from recsys_core.compile.jit import compiled
from recsys_core.compile.optional_array import take_range
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
    all_confidences = users.confidences
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
        confidences = take_range(all_confidences, indptr[user], indptr[user + 1])
        least = _sum_system(factors, rated, confidences, narrow_scales, columns, system)
        if not is_well_conditioned(system, n, least):
            continue
        factorize(system, n)
        set_zero(rhs)
        copy(wanted, n, rhs)
        solve(system, n, rhs, halfway)
        set_zero(weights)
        add_correction(rhs, n, weights)
        _combine_items(factors, rated, scales, weights, rotated)
        _compute_residual(factors, rated, confidences, wanted, weights, rotated, residual)
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
    confidences: Float32Array | None,
    scales: FloatArray,
    columns: FloatArray,
    system: FloatArray,
) -> float:
    """columns = B', system = B B' + C^-1; returns a lower bound of the system's eigenvalues."""
    n = len(rated)
    for at in range(0, n, count_lanes(columns)):
        copy_transposed(columns, at, factors, rated, n, scales)
    start_gram(system, n, 1.0)
    least = _set_diagonal(system, confidences)
    add_gram(system, n, columns, None, None, 0, len(scales))
    return least


@compiled
def _set_diagonal(system: FloatArray, confidences: Float32Array | None) -> float:
    """Set the diagonal, which is 1, to that of C^-1; returns the least number on it."""
    least = 1.0
    if confidences is not None:
        least = np.inf
        for at in range(len(confidences)):
            inverse = 1.0 / np.float64(confidences[at])
            system[at, at] = inverse
            least = min(least, inverse)
    return least


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
    confidences: Float32Array | None,
    targets: Float64Array,
    weights: Float64Array,
    solution: Float64Array,
    residual: Float64Array,
) -> None:
    """residual = t - A p - C^-1 w."""
    for at in range(0, len(rated), GROUP):
        multiply_group(factors, rated, at, len(rated), solution, residual, at)
    for at in range(len(rated)):
        predicted = residual[at]
        residual[at] = targets[at] - predicted - _divide(weights[at], confidences, at)


@compiled
def _divide(number: float, confidences: Float32Array | None, at: int) -> float:
    """The number over the confidence of a rating."""
    if confidences is None:
        return number
    return number / np.float64(confidences[at])


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
