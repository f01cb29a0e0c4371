"""One user's normal equations in the dual, compiled: an equation for each rating.

    (A D^-1 A' + I) w = t,  p = D^-1 A'w

where G + ridge I = D is a diagonal, as it is along the eigenvectors of G. With B = A D^-1/2 the
system is B B' + I: no eigenvalue of it is below 1.
"""

import numpy as np

from recsys_core.arrays import Float64Array, FloatArray, Int32Array
from recsys_core.compile.jit import compiled
from recsys_core.compile.tiles import (
    GROUP,
    add_group,
    copy_transposed,
    count_lanes,
    multiply_group,
)
from recsys_core.linalg.cholesky import add_gram, factorize, solve, start_gram
from recsys_core.linalg.mixed_precision import add_correction, is_well_conditioned
from recsys_core.linalg.vector_loops import add_combination, copy, dot, set_zero
from recsys_core.linalg.workspace import Workspace


@compiled
def solve_dual(
    rotated_factors: FloatArray,
    items: Int32Array,
    targets: Float64Array,
    eigenvectors: Float64Array,
    eigenvalues: Float64Array,
    ridge: float,
    work: Workspace,
) -> tuple[bool, float]:
    """Solve for p, into ``work.solution``.

    Args:
        rotated_factors: [n_items, width], along the eigenvectors; A are those of the rated items.
        items: [n_ratings].
        targets: [n_ratings]: t.
        eigenvectors: [width, width] of G, one a row; empty where G is zero.
        eigenvalues: [n_columns] of G.

    Returns:
        Whether the workspace's type of numbers did, and |A p - t|^2 + p'(G + ridge I)p, which at
        the minimum is t'w.
    """
    system, rhs, halfway, weights = work.system, work.rhs, work.halfway, work.weights
    n = len(items)
    _sum_system(rotated_factors, items, eigenvalues, ridge, work)
    if not is_well_conditioned(system, n, 1.0):
        return False, 0.0
    factorize(system, n)
    set_zero(rhs)
    copy(targets, n, rhs)
    solve(system, n, rhs, halfway)
    set_zero(weights)
    add_correction(rhs, n, weights)
    _combine_items(rotated_factors, items, work)
    _compute_residual(rotated_factors, items, targets, work)
    copy(work.residual, n, rhs)
    solve(system, n, rhs, halfway)
    is_exact = add_correction(rhs, n, weights)
    _combine_items(rotated_factors, items, work)
    _rotate_back(eigenvectors, work.rotated_solution, work.solution)
    return is_exact, dot(targets, weights, n)


@compiled
def _sum_system(
    rotated_factors: FloatArray,
    items: Int32Array,
    eigenvalues: Float64Array,
    ridge: float,
    work: Workspace,
) -> None:
    """scales = D^-1/2, rated = B', system = B B' + I."""
    scales, narrow_scales, rated = work.scales, work.narrow_scales, work.rated
    for column in range(len(eigenvalues)):
        scales[column] = 1.0 / np.sqrt(eigenvalues[column] + ridge)
    copy(scales, len(scales), narrow_scales)
    n = len(items)
    for at in range(0, n, count_lanes(rated)):
        copy_transposed(rated, at, rotated_factors, items, n, narrow_scales)
    start_gram(work.system, n, 1.0)
    add_gram(work.system, n, rated, None, 0, len(scales))


@compiled
def _combine_items(rotated_factors: FloatArray, items: Int32Array, work: Workspace) -> None:
    """rotated_solution = D^-1 A'w."""
    weights, scales, rotated_solution = work.weights, work.scales, work.rotated_solution
    set_zero(rotated_solution)
    for at in range(0, len(items), GROUP):
        add_group(rotated_factors, items, at, len(items), weights, at, rotated_solution)
    for column in range(len(rotated_solution)):
        rotated_solution[column] *= scales[column] * scales[column]


@compiled
def _compute_residual(
    rotated_factors: FloatArray, items: Int32Array, targets: Float64Array, work: Workspace
) -> None:
    """residual = t - A p - w."""
    weights, residual, rotated_solution = work.weights, work.residual, work.rotated_solution
    for at in range(0, len(items), GROUP):
        multiply_group(rotated_factors, items, at, len(items), rotated_solution, residual, at)
    for at in range(len(items)):
        residual[at] = targets[at] - residual[at] - weights[at]


@compiled
def _rotate_back(
    eigenvectors: Float64Array, rotated_solution: Float64Array, solution: Float64Array
) -> None:
    """solution = rotated_solution eigenvectors."""
    if len(eigenvectors) == 0:
        copy(rotated_solution, len(rotated_solution), solution)
    else:
        set_zero(solution)
        add_combination(eigenvectors, rotated_solution, solution)
