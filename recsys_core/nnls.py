"""Non-negative least squares for many right-hand sides that share one Gram matrix.

For each row of ``targets``:  min over w >= 0 of  w G w' / 2 - b w',  with G = H H', b = x H'.

Two stages. A fixed number of coordinate-descent sweeps (Hsieh and Dhillon, KDD 2011) over a block
of rows finds nearly the right support; it uses element-wise arithmetic alone, so a row's result
does not depend on the rows beside it. Then each row is finished exactly by the active-set method of
Lawson and Hanson (*Solving Least Squares Problems*, 1974, chapter 23), started from that support.
"""

import numpy as np
from scipy.linalg import lapack

from recsys_core.arrays import BoolArray, Float64Array, IntArray

_SWEEPS = 6
_ROWS_PER_BLOCK = 512
_RIDGE = 1e-10
"""Added to G relative to its mean diagonal: makes the minimum unique where H is rank deficient."""
_OPTIMALITY = 1e-9
"""A zero weight may keep a gradient this far below zero, relative to the largest target."""


def solve_nnls(gram: Float64Array, targets: Float64Array) -> Float64Array:
    """Minimise w G w' / 2 - b w' over w >= 0 for every row b of ``targets``.

    Args:
        gram: float64 [n_factors, n_factors], symmetric positive semi-definite.
        targets: float64 [n_rows, n_factors].

    Returns:
        float64 [n_rows, n_factors], non-negative. Each row is a function of ``gram`` and its own
        target, bit for bit.
    """
    n_factors = gram.shape[0]
    diagonal = np.diagonal(gram)
    # A factor that no item uses has a zero diagonal: any positive value keeps its weight at zero.
    ridge = _RIDGE * float(diagonal.mean()) or 1.0
    gram = gram + ridge * np.eye(n_factors)
    weights = np.zeros_like(targets)
    for start in range(0, targets.shape[0], _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        _sweep(gram, targets[block], weights[block])
    for weight, target in zip(weights, targets, strict=True):
        _finish(gram, target, weight)
    return weights


def _sweep(gram: Float64Array, targets: Float64Array, weights: Float64Array) -> None:
    """Improve ``weights`` in place by cyclic coordinate descent from zero."""
    gradient = -targets
    diagonal = np.diagonal(gram)
    for _ in range(_SWEEPS):
        for factor in range(gram.shape[0]):
            old = weights[:, factor]
            new = np.maximum(old - gradient[:, factor] / diagonal[factor], 0.0)
            moved = np.flatnonzero(new != old)
            if moved.size:
                step = new[moved] - old[moved]
                weights[moved, factor] = new[moved]
                gradient[moved] += step[:, None] * gram[factor]


def _finish(gram: Float64Array, target: Float64Array, weight: Float64Array) -> None:
    """Bring one row from a feasible start to its exact minimum, in place."""
    tolerance = _OPTIMALITY * float(np.abs(target).max(initial=0.0))
    passive = weight > 0
    # Each round lowers the objective or the support, so the method ends; the bound only keeps a
    # row whose arithmetic has run out of digits from cycling.
    for _ in range(3 * target.size + 10):
        _descend(gram, target, weight, passive)
        gradient = gram @ weight - target
        gradient[passive] = 0.0
        worst = int(gradient.argmin())
        if gradient[worst] >= -tolerance:
            return
        passive[worst] = True


def _descend(
    gram: Float64Array, target: Float64Array, weight: Float64Array, passive: BoolArray
) -> None:
    """Minimise over the passive factors, dropping those that would turn negative; in place."""
    while True:
        support = np.flatnonzero(passive)
        solution = _solve_on(gram, target, support)
        blocking = solution <= 0
        if not blocking.any():
            weight[:] = 0.0
            weight[support] = solution
            return
        current = weight[support]
        ratios = current[blocking] / (current[blocking] - solution[blocking])
        current += ratios.min() * (solution - current)
        reached_zero = blocking & (current <= current.max(initial=0.0) * 1e-14)
        reached_zero[np.flatnonzero(blocking)[ratios.argmin()]] = True
        current[reached_zero] = 0.0
        weight[support] = current
        passive[support[reached_zero]] = False


def _solve_on(gram: Float64Array, target: Float64Array, support: IntArray) -> Float64Array:
    """Solve G_SS z = b_S by Cholesky, by least squares where rounding has made G_SS indefinite."""
    if support.size == 0:
        return np.zeros(0)
    matrix = gram[support[:, None], support]
    _, solution, failed = lapack.dposv(matrix, target[support])
    if failed:
        solution = np.linalg.lstsq(matrix, target[support], rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)
