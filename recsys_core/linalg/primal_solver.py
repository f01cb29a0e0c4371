"""One user's normal equations in the primal, compiled: an equation for each column.

(A'A + G + ridge I) p = A't
"""

from recsys_core.arrays import Float64Array, FloatArray, Int32Array
from recsys_core.compile.jit import compiled
from recsys_core.compile.tiles import GROUP, add_group, copy_row, multiply_group
from recsys_core.linalg.cholesky import add_gram, factorize, solve, start_gram
from recsys_core.linalg.mixed_precision import add_correction, is_well_conditioned
from recsys_core.linalg.vector_loops import add_combination, copy, dot, set_zero
from recsys_core.linalg.workspace import Workspace


@compiled
def solve_primal(
    factors: FloatArray,
    size: int,
    items: Int32Array,
    targets: Float64Array,
    gram: Float64Array,
    ridge: float,
    least_eigenvalue: float,
    work: Workspace,
) -> tuple[bool, float]:
    """Solve for p, into ``work.solution``.

    Args:
        factors: [n_items, width]; A are the rows of the rated items.
        size: columns of the factors that are not padding.
        items: [n_ratings].
        targets: [n_ratings]: t.
        gram: [width, width]: G; empty where it is zero.
        least_eigenvalue: a lower bound of the eigenvalues of G + ridge I.

    Returns:
        Whether the workspace's type of numbers did, and |A p - t|^2 + p'(G + ridge I)p.
    """
    system, rhs, halfway, solution = work.system, work.rhs, work.halfway, work.solution
    _sum_system(factors, size, items, targets, gram, ridge, system, rhs)
    if not is_well_conditioned(system, size, least_eigenvalue):
        return False, 0.0
    factorize(system, size)
    solve(system, size, rhs, halfway)
    set_zero(solution)
    add_correction(rhs, size, solution)
    objective = _compute_residual(factors, items, targets, gram, ridge, work)
    residual = work.residual
    copy(residual, size, rhs)
    solve(system, size, rhs, halfway)
    minimum = objective - dot(rhs, residual, size)
    return add_correction(rhs, size, solution), minimum


@compiled
def _sum_system(
    factors: FloatArray,
    size: int,
    items: Int32Array,
    targets: Float64Array,
    gram: Float64Array,
    ridge: float,
    system: FloatArray,
    rhs: FloatArray,
) -> None:
    """system = A'A + G + ridge I, rhs = A't."""
    if len(gram) > 0:
        for row in range(len(gram)):
            copy_row(system, row, gram, row)
            system[row, row] += ridge
    else:
        start_gram(system, size, ridge)
    set_zero(rhs)
    for at in range(0, len(items), GROUP):
        add_group(factors, items, at, len(items), targets, at, rhs)
    add_gram(system, size, factors, items, 0, len(items))


@compiled
def _compute_residual(
    factors: FloatArray,
    items: Int32Array,
    targets: Float64Array,
    gram: Float64Array,
    ridge: float,
    work: Workspace,
) -> float:
    """residual = A'(t - A p) - (G + ridge I) p; returns |A p - t|^2 + p'(G + ridge I)p."""
    solution, residual, errors = work.solution, work.residual, work.errors
    width, n = len(solution), len(items)
    for column in range(width):
        residual[column] = -ridge * solution[column]
        errors[column] = -solution[column]
    add_combination(gram, errors, residual)
    objective = -dot(residual, solution, width)
    for at in range(0, n, GROUP):
        multiply_group(factors, items, at, n, solution, errors, 0)
        for i in range(min(GROUP, n - at)):
            errors[i] = targets[at + i] - errors[i]
            objective += errors[i] * errors[i]
        add_group(factors, items, at, n, errors, 0, residual)
    return objective
