"""Non-negative least squares for many right-hand sides that share one Gram matrix.

For each row of ``targets``:  min over w >= 0 of  w G w' / 2 - b w',  with G = H H', b = x H'.

Two stages. A few sweeps of coordinate descent (Hsieh and Dhillon, KDD 2011) find nearly the right
support. Then the row is finished exactly by the active-set method of Lawson and Hanson (*Solving
Least Squares Problems*, 1974, chapter 23), started from that support. Rows are solved one by one,
so that a row's result does not depend on the rows beside it.
"""

import numpy as np

from recsys_core.arrays import BoolArray, Float64Array, Int64Array
from recsys_core.compile.gathered_rows import GROUP, add_group, add_rows
from recsys_core.compile.jit import compiled
from recsys_core.compile.padding import pad_columns
from recsys_core.compile.vector_size import count_lanes
from recsys_core.linalg.cholesky import factorize, padded, solve

_SWEEPS = 12
_RIDGE = 1e-10
"""Added to G relative to its mean diagonal: makes the minimum unique where H is rank deficient."""
_OPTIMALITY = 1e-9
"""A zero weight may keep a gradient this far below zero, relative to the largest target."""
_VANISHING = 1e-14
"""A weight this much smaller than the largest is zero up to rounding."""


def solve_nnls(gram: Float64Array, targets: Float64Array) -> Float64Array:
    """Minimise w G w' / 2 - b w' over w >= 0 for every row b of ``targets``.

    Args:
        gram: float64 [n_factors, n_factors], symmetric positive semi-definite.
        targets: float64 [n_rows, n_factors].

    Returns:
        float64 [n_rows, n_factors], non-negative. Each row is a function of ``gram`` and its own
        target, bit for bit.
    """
    # A factor that no item uses has a zero diagonal: any positive value keeps its weight at zero.
    ridge = _RIDGE * float(np.diagonal(gram).mean()) or 1.0
    weights = np.zeros_like(targets)
    regular = pad_columns(gram + ridge * np.eye(gram.shape[0]))
    _solve_rows(regular, np.ascontiguousarray(targets), weights)
    return weights


@compiled
def _solve_rows(gram: Float64Array, targets: Float64Array, weights: Float64Array) -> None:
    n_factors = gram.shape[0]
    width = gram.shape[1]
    gradient, solution, halfway = np.zeros(width), np.zeros(width), np.zeros(width)
    matrix, inverse_diagonal = np.zeros((width, width + count_lanes(gram))), 1.0 / np.diag(gram)
    passive, support = np.empty(n_factors, np.bool_), np.empty(n_factors, np.int64)
    for row in range(len(targets)):
        target, weight = targets[row], weights[row]
        _sweep(gram, inverse_diagonal, target, weight, gradient)
        for factor in range(n_factors):
            passive[factor] = weight[factor] > 0.0
        tolerance = _OPTIMALITY * max(target.max(), -target.min())
        # Each round lowers the objective or the support, so the method ends; the bound only keeps
        # a row whose arithmetic has run out of digits from cycling.
        for _ in range(3 * n_factors + 10):
            size = _descend(gram, target, weight, passive, support, matrix, solution, halfway)
            worst, least = _most_negative(gram, target, passive, support, size, solution, gradient)
            if least >= -tolerance:
                break
            passive[worst] = True


@compiled
def _sweep(
    gram: Float64Array,
    inverse_diagonal: Float64Array,
    target: Float64Array,
    weight: Float64Array,
    gradient: Float64Array,
) -> None:
    """Cyclic coordinate descent from zero, in place, until a sweep leaves the support as it is."""
    n_factors = len(target)
    for factor in range(n_factors):
        gradient[factor] = -target[factor]
    for _ in range(_SWEEPS):
        settled = True
        for factor in range(n_factors):
            old = weight[factor]
            new = max(old - gradient[factor] * inverse_diagonal[factor], 0.0)
            if new != old:
                settled &= new != 0.0 and old != 0.0
                weight[factor] = new
                add_rows(gradient, 0, len(gradient), gram, (factor,), (new - old,))
        if settled:
            break


@compiled
def _descend(
    gram: Float64Array,
    target: Float64Array,
    weight: Float64Array,
    passive: BoolArray,
    support: Int64Array,
    matrix: Float64Array,
    solution: Float64Array,
    halfway: Float64Array,
) -> int:
    """Minimise over the passive factors, dropping those that would turn negative; in place."""
    for factor in range(len(weight)):
        if not passive[factor]:
            weight[factor] = 0.0
    while True:
        size = _solve_on_support(gram, target, passive, support, matrix, solution, halfway)
        blocked, step = _find_step(weight, support[:size], solution)
        largest = 0.0
        for place in range(size):
            factor = support[place]
            weight[factor] += step * (solution[place] - weight[factor])
            largest = max(largest, weight[factor])
        if not blocked:
            for place in range(size):  # as solved, without the rounding of a step
                weight[support[place]] = solution[place]
            return size
        for place in range(size):
            factor = support[place]
            if solution[place] <= 0.0 and weight[factor] <= _VANISHING * largest:
                weight[factor] = 0.0
                passive[factor] = False


@compiled
def _find_step(
    weight: Float64Array, support: Int64Array, solution: Float64Array
) -> tuple[bool, float]:
    """Whether a weight would leave w >= 0, and how far the way to the solution stays within it."""
    blocked, step = False, 1.0
    for place in range(len(support)):
        if solution[place] <= 0.0:
            current = weight[support[place]]
            blocked = True
            step = min(step, current / (current - solution[place]) if current > 0.0 else 0.0)
    return blocked, step


@compiled
def _solve_on_support(
    gram: Float64Array,
    target: Float64Array,
    passive: BoolArray,
    support: Int64Array,
    matrix: Float64Array,
    solution: Float64Array,
    halfway: Float64Array,
) -> int:
    """Solve G_SS z = b_S; fills ``support`` and ``solution`` and returns their length."""
    size = 0
    for factor in range(len(target)):
        if passive[factor]:
            support[size] = factor
            solution[size] = target[factor]
            size += 1
    for place in range(size):
        for other in range(place, size):
            matrix[place, other] = gram[support[place], support[other]]
    for place in range(size):
        for other in range(size, padded(matrix, size)):
            matrix[place, other] = 0.0
    for place in range(size, padded(matrix, size)):
        solution[place] = 0.0
        matrix[place, place] = 1.0
    factorize(matrix, size)
    solve(matrix, size, solution, halfway)
    return size


@compiled
def _most_negative(
    gram: Float64Array,
    target: Float64Array,
    passive: BoolArray,
    support: Int64Array,
    size: int,
    solution: Float64Array,
    gradient: Float64Array,
) -> tuple[int, float]:
    """Where the gradient of a factor that is not passive is least, and how much that is."""
    for factor in range(len(target)):
        gradient[factor] = -target[factor]
    for place in range(0, size, GROUP):
        add_group(gram, support, place, size, solution, place, gradient)
    worst, least = 0, 0.0
    for factor in range(len(target)):
        slope = 0.0 if passive[factor] else gradient[factor]
        worst, least = (factor, slope) if slope < least else (worst, least)
    return worst, least
