"""The normal equations of each user's ratings, compiled.

A user's vector p minimises |A p - t|^2 + p'(G + ridge I)p, where A [n, n_columns] are the rated
items' rows of a matrix, t [n] their targets, and G is the same for all users:

    (A'A + G + ridge I) p = A't                where ratings are many
    (A D^-1 A' + I) w = t,  p = D^-1 A'w       where they are few, with G + ridge I = D a diagonal

A system that is not badly conditioned is summed and factorized in float32, at half the cost, and
its solution refined: a correction, solved for in float32 too, comes from the residual in float64
(Wilkinson, *Rounding Errors in Algebraic Processes*, 1963, chapter 3). It takes away all but a
share of the error that is about as small as the error was, so that its own size tells what it
leaves. Where that is too much, the user is solved again in float64.
"""

from typing import NamedTuple

import numpy as np

from recsys_core.arrays import BoolArray, Float64Array, FloatArray, Int32Array, Int64Array
from recsys_core.compile.gathered_rows import (
    GROUP,
    add_group,
    add_rows,
    copy_row,
    copy_transposed,
    multiply_group,
)
from recsys_core.compile.jit import compiled, compiled_sum, compiled_unlocked
from recsys_core.compile.padding import pad_columns
from recsys_core.compile.vector_size import count_lanes
from recsys_core.linalg.cholesky import add_gram, factorize, solve, start_gram

_DETOUR = 24
"""How many columns more than ratings it takes for the smaller system to be worth its detour."""
_CONDITION = 1e6
"""Trace over least eigenvalue, a bound on the condition: most that float32 is tried on."""
_LEAST, _MOST = 1e-30, 1e30
"""Least eigenvalue and largest trace that float32 is tried on: far from where it ends."""
_SETTLED = 1e-5
"""A correction this small, relative to the solution, leaves an error of about its square."""


class CommonSystem(NamedTuple):
    """What the systems of all users have in common; rows are padded by ``pad_columns``."""

    matrix: FloatArray  # [n_items, width]
    gram: Float64Array  # [width, width]: G; empty where it is zero
    rotated: FloatArray  # [n_items, width]: the matrix along the eigenvectors of G
    directions: Float64Array  # [width, width]: these eigenvectors, one a row; empty where G is zero
    values: Float64Array  # [n_columns]: their eigenvalues, the least one first


def without_gram(matrix: FloatArray) -> CommonSystem:
    """Of systems with G = 0."""
    padded, nothing = pad_columns(matrix), np.empty((0, 0))
    return CommonSystem(padded, nothing, padded, nothing, np.zeros(matrix.shape[1]))


@compiled_unlocked
def solve_users(
    common: CommonSystem,
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
    done = np.zeros(len(ridges), np.bool_)
    users = indptr, items, targets, starts, ridges, done, solutions, minima
    _solve_in(np.empty(0, np.float32), common, *users)
    if not done.all():
        _solve_in(np.empty(0, np.float64), common, *users)


@compiled
def _solve_in(
    number: FloatArray,
    common: CommonSystem,
    indptr: Int64Array,
    items: Int32Array,
    targets: Float64Array,
    starts: Int64Array,
    ridges: Float64Array,
    done: BoolArray,
    solutions: FloatArray,
    minima: Float64Array,
) -> None:
    """Solve for those users who are not done, with systems of the type of ``number``, an array.

    ``done`` then says for whom this type of numbers did.
    """
    # Arrays taken out of a tuple are counted as long as they are held: not once for each user.
    matrix, gram, rotated, directions, values = common
    width, size = matrix.shape[1], len(values)
    # Scratch shared by all users. What one leaves in the padding of the next bears on nothing, but
    # has to be a number: arithmetic on what memory held before may be slow. Rows of 64 numbers
    # would put a column in a few sets of the cache.
    longer = width + count_lanes(number)
    rows = _start(width * longer, number).reshape((-1, longer))
    system = _start(width * longer, number).reshape((-1, longer))
    target, halfway = _start(width, number), _start(width, number)
    narrow_scales = _start(width, number)
    # Padding has scales too, of columns that are zero.
    scales, solution, along = np.ones(width), np.zeros(width), np.zeros(width)
    residual, weights = np.zeros(width), np.zeros(width)
    for user in range(len(ridges)):
        n_ratings, ridge = indptr[user + 1] - indptr[user], ridges[user]
        if done[user] or n_ratings == 0:
            done[user] = True
            continue
        rated = items[indptr[user] : indptr[user + 1]]
        wanted = targets[starts[user] : starts[user] + n_ratings]
        if n_ratings + _DETOUR < size:
            for column in range(size):
                scales[column] = 1.0 / np.sqrt(values[column] + ridge)
            _copy(scales, width, narrow_scales)
            done[user], minima[user] = _solve_few(
                rotated,
                rated,
                wanted,
                scales,
                rows,
                system,
                target,
                halfway,
                narrow_scales,
                along,
                residual,
                weights,
            )
            _rotate_back(directions, along, solution)
        else:
            done[user], minima[user] = _solve_many(
                matrix,
                size,
                rated,
                wanted,
                gram,
                ridge,
                values[0] + ridge,
                system,
                target,
                halfway,
                solution,
                residual,
                weights,
            )
        for column in range(size):
            solutions[user, column] = solution[column]


@compiled
def _start(size: int, number: FloatArray) -> FloatArray:
    """Zeros from the start of a cache line on: a vector across two is two to load."""
    lanes = count_lanes(number)
    numbers = np.zeros(size + lanes, number.dtype)
    first = -(numbers.ctypes.data // number.itemsize) % lanes
    return numbers[first : first + size]


@compiled
def _solve_many(
    matrix: FloatArray,
    size: int,
    items: Int32Array,
    targets: Float64Array,
    gram: Float64Array,
    ridge: float,
    least: float,
    system: FloatArray,
    target: FloatArray,
    halfway: FloatArray,
    solution: Float64Array,
    residual: Float64Array,
    errors: Float64Array,
) -> tuple[bool, float]:
    """Whether p is found, and the minimum; ``least``: no eigenvalue of the system is below it."""
    if len(gram) > 0:
        for row in range(len(gram)):
            copy_row(system, row, gram, row)
            system[row, row] += ridge
    else:
        start_gram(system, size, ridge)
    _clear(target)
    for at in range(0, len(items), GROUP):
        add_group(matrix, items, at, len(items), targets, at, target)
    add_gram(system, size, matrix, items, 0, len(items))
    if not _suits(system, size, least):
        return False, 0.0
    factorize(system, size)
    solve(system, size, target, halfway)
    _clear(solution)
    _add(target, size, solution)
    before = _measure_many(matrix, items, targets, gram, ridge, solution, residual, errors)
    _copy(residual, size, target)
    solve(system, size, target, halfway)
    minimum = before - _multiply(target, residual, size)
    return _add(target, size, solution), minimum


@compiled
def _measure_many(
    matrix: FloatArray,
    items: Int32Array,
    targets: Float64Array,
    gram: Float64Array,
    ridge: float,
    solution: Float64Array,
    residual: Float64Array,
    errors: Float64Array,
) -> float:
    """residual = A'(t - A p) - (G + ridge I) p; what p makes of the sum that is to be minimal."""
    width, n = len(solution), len(items)
    for column in range(width):
        residual[column] = -ridge * solution[column]
        errors[column] = -solution[column]
    _add_all(gram, errors, residual)
    total = -_multiply(residual, solution, width)
    for at in range(0, n, GROUP):
        multiply_group(matrix, items, at, n, solution, errors, 0)
        for i in range(min(GROUP, n - at)):
            errors[i] = targets[at + i] - errors[i]
            total += errors[i] * errors[i]
        add_group(matrix, items, at, n, errors, 0, residual)
    return total


@compiled
def _solve_few(
    matrix: FloatArray,
    items: Int32Array,
    targets: Float64Array,
    scales: Float64Array,
    rows: FloatArray,
    system: FloatArray,
    target: FloatArray,
    halfway: FloatArray,
    narrow_scales: FloatArray,
    solution: Float64Array,
    residual: Float64Array,
    weights: Float64Array,
) -> tuple[bool, float]:
    """Whether p is found, and the minimum, which is t'w; ``scales`` are D^-1/2."""
    n = len(items)
    for at in range(0, n, count_lanes(rows)):
        copy_transposed(rows, at, matrix, items, n, narrow_scales)
    start_gram(system, n, 1.0)
    add_gram(system, n, rows, None, 0, len(scales))
    if not _suits(system, n, 1.0):
        return False, 0.0
    factorize(system, n)
    _clear(target)
    _copy(targets, n, target)
    solve(system, n, target, halfway)
    _clear(weights)
    _add(target, n, weights)
    _combine(matrix, items, scales, weights, solution)
    _measure_few(matrix, items, targets, weights, solution, residual)
    _copy(residual, n, target)
    solve(system, n, target, halfway)
    done = _add(target, n, weights)
    _combine(matrix, items, scales, weights, solution)
    return done, _multiply(targets, weights, n)


@compiled
def _combine(
    matrix: FloatArray,
    items: Int32Array,
    scales: Float64Array,
    weights: Float64Array,
    solution: Float64Array,
) -> None:
    """p = D^-1 A'w."""
    _clear(solution)
    for at in range(0, len(items), GROUP):
        add_group(matrix, items, at, len(items), weights, at, solution)
    for column in range(len(solution)):
        solution[column] *= scales[column] * scales[column]


@compiled
def _measure_few(
    matrix: FloatArray,
    items: Int32Array,
    targets: Float64Array,
    weights: Float64Array,
    solution: Float64Array,
    residual: Float64Array,
) -> None:
    """residual = t - A p - w."""
    for at in range(0, len(items), GROUP):
        multiply_group(matrix, items, at, len(items), solution, residual, at)
    for at in range(len(items)):
        residual[at] = targets[at] - residual[at] - weights[at]


@compiled
def _rotate_back(directions: Float64Array, along: Float64Array, solution: Float64Array) -> None:
    """What is along the eigenvectors as a vector of columns."""
    if len(directions) == 0:
        _copy(along, len(along), solution)
    else:
        _clear(solution)
        _add_all(directions, along, solution)


@compiled
def _add_all(matrix: Float64Array, factors: Float64Array, total: Float64Array) -> None:
    """total += factors times the matrix."""
    for row in range(0, len(matrix), 4):
        rows = row, row + 1, row + 2, row + 3
        p, q, r, s = factors[row], factors[row + 1], factors[row + 2], factors[row + 3]
        add_rows(total, 0, len(total), matrix, rows, (p, q, r, s))


@compiled
def _suits(system: FloatArray, size: int, least: float) -> bool:
    """Whether the system's type of numbers will do, given a bound on its eigenvalues from below."""
    if system.itemsize == 8:
        return True
    trace = 0.0
    for at in range(size):
        trace += np.float64(system[at, at])
    return least >= _LEAST and trace <= min(_MOST, _CONDITION * least)


@compiled
def _add(correction: FloatArray, size: int, solution: Float64Array) -> bool:
    """Whether the solution is right after its correction."""
    for at in range(size):
        solution[at] += correction[at]
    change = _multiply(correction, correction, size)
    return change <= _SETTLED**2 * _multiply(solution, solution, size)


@compiled_sum
def _multiply(left: FloatArray, right: FloatArray, size: int) -> float:
    total = 0.0
    for at in range(size):
        total += np.float64(left[at]) * np.float64(right[at])
    return total


@compiled
def _clear(numbers: FloatArray) -> None:
    """Set all to zero. An assignment to a slice takes longer to begin than to do."""
    for at in range(len(numbers)):
        numbers[at] = 0.0


@compiled
def _copy(source: FloatArray, count: int, into: FloatArray) -> None:
    for at in range(count):
        into[at] = source[at]
