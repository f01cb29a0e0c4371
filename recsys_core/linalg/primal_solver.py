"""Normal equations in the primal, compiled: an equation for each column of the factors.

(A'C A + G + ridge I) p = A'C t
"""

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, FloatArray, Int32Array
from recsys_core.compile.gathered_rows import GROUP, add_group, copy_row, multiply_group
from recsys_core.compile.jit import compiled
from recsys_core.compile.optional_array import take_range
from recsys_core.linalg.cholesky import add_gram, factorize, solve, start_gram
from recsys_core.linalg.mixed_precision import add_correction, is_well_conditioned
from recsys_core.linalg.user_systems import SharedGram, UserSystems, Workspace
from recsys_core.linalg.vector_loops import add_combination, copy, dot, set_zero


@compiled
def solve_primal(shared: SharedGram, users: UserSystems, fewest: int, work: Workspace) -> None:
    """Solve for the users of ``fewest`` ratings or more who are not done.

    Left as they are: those whose systems are beyond the workspace's type of numbers.
    """
    factors, gram, eigenvalues = shared.factors, shared.gram, shared.eigenvalues
    indptr, items, targets, starts = users.indptr, users.items, users.targets, users.starts
    all_confidences = users.confidences
    ridges, solutions, minima, done = users.ridges, users.solutions, users.minima, users.done
    system, rhs, halfway = work.system, work.rhs, work.halfway
    solution, residual, errors = work.solution, work.residual, work.errors
    size = len(eigenvalues)
    for user in range(len(ridges)):
        n, ridge = indptr[user + 1] - indptr[user], ridges[user]
        if done[user] or n < fewest:
            continue
        rated = items[indptr[user] : indptr[user + 1]]
        wanted = targets[starts[user] : starts[user] + n]
        confidences = take_range(all_confidences, indptr[user], indptr[user + 1])
        _sum_system(factors, size, rated, confidences, gram, ridge, system)
        _sum_targets(factors, rated, confidences, wanted, errors, rhs)
        if not is_well_conditioned(system, size, eigenvalues[0] + ridge):
            continue
        factorize(system, size)
        solve(system, size, rhs, halfway)
        set_zero(solution)
        add_correction(rhs, size, solution)
        before = _compute_residual(
            factors, rated, confidences, wanted, gram, ridge, solution, residual, errors
        )
        copy(residual, size, rhs)
        solve(system, size, rhs, halfway)
        minima[user] = before - dot(rhs, residual, size)
        done[user] = add_correction(rhs, size, solution)
        for column in range(size):
            solutions[user, column] = solution[column]


@compiled
def _sum_system(
    factors: FloatArray,
    size: int,
    rated: Int32Array,
    confidences: Float32Array | None,
    gram: Float64Array,
    ridge: float,
    system: FloatArray,
) -> None:
    """system = A'C A + G + ridge I."""
    if len(gram) > 0:
        for row in range(len(gram)):
            copy_row(system, row, gram, row)
            system[row, row] += ridge
    else:
        start_gram(system, size, ridge)
    add_gram(system, size, factors, rated, confidences, 0, len(rated))


@compiled
def _sum_targets(
    factors: FloatArray,
    rated: Int32Array,
    confidences: Float32Array | None,
    targets: Float64Array,
    weighed: Float64Array,
    rhs: FloatArray,
) -> None:
    """rhs = A'C t; ``weighed`` [GROUP or more] is scratch."""
    set_zero(rhs)
    for at in range(0, len(rated), GROUP):
        for i in range(min(GROUP, len(rated) - at)):
            weighed[i] = _weigh(confidences, at + i, targets[at + i])
        add_group(factors, rated, at, len(rated), weighed, 0, rhs)


@compiled
def _weigh(confidences: Float32Array | None, at: int, number: float) -> float:
    """The number times the confidence of a rating."""
    if confidences is None:
        return number
    return np.float64(confidences[at]) * number


@compiled
def _compute_residual(
    factors: FloatArray,
    rated: Int32Array,
    confidences: Float32Array | None,
    targets: Float64Array,
    gram: Float64Array,
    ridge: float,
    solution: Float64Array,
    residual: Float64Array,
    errors: Float64Array,
) -> float:
    """residual = A'C(t - A p) - (G + ridge I) p; returns the sum that p minimises."""
    width, n = len(solution), len(rated)
    for column in range(width):
        residual[column] = -ridge * solution[column]
        errors[column] = -solution[column]
    add_combination(gram, errors, residual)
    objective = -dot(residual, solution, width)
    for at in range(0, n, GROUP):
        multiply_group(factors, rated, at, n, solution, errors, 0)
        for i in range(min(GROUP, n - at)):
            error = targets[at + i] - errors[i]
            errors[i] = _weigh(confidences, at + i, error)
            objective += error * errors[i]
        add_group(factors, rated, at, n, errors, 0, residual)
    return objective
