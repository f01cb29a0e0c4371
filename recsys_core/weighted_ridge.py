"""Ridge regression of each user on all items, of which those rated weigh more, compiled.

A user's vector p minimises

    sum over rated items (q_i . p - 1)^2 + w * sum over all items (q_i . p)^2 + ridge * |p|^2

that is (G + ridge I + A'A) p = A'1, where G = w Q'Q and A [n, n_columns] are the rated items' rows
of Q. Hu, Koren and Volinsky, *Collaborative Filtering for Implicit Feedback Datasets*, ICDM 2008.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.cholesky import add_gram, factorize_tiles, padded, solve, start_gram
from recsys_core.compiled import compiled, compiled_sum, compiled_unlocked

_ROWS = 32
"""Ratings gathered at once: what bounds memory, and at 64 columns fits the first cache."""
_STAGGER = 8
"""Columns added to each buffer: rows of 64 numbers would put a column in a few sets of the cache.
"""


@dataclass(frozen=True)
class Penalty:
    """What is asked of p beside the ratings. Users and items trade places in training."""

    regularization: float
    unobserved_weight: float
    """w: what a pair without a rating weighs."""
    frequency_exponent: float
    """nu: the ridge of a user with n ratings is regularization * (n + w * n_items)^nu."""

    def ridges(self, n_ratings: Int64Array, n_items: int) -> Float64Array:
        """Float64 [n_users]: the ridge of each."""
        frequencies = n_ratings + self.unobserved_weight * n_items
        return np.float64(self.regularization) * frequencies**self.frequency_exponent


@dataclass(frozen=True)
class WeightedRidge:
    """The factors of all items, and what the systems of all users have in common."""

    factors: Float32Array
    """Float32 [n_items, n_columns]."""
    gram: Float64Array
    """Float64 [n_columns, n_columns]: G."""
    directions: Float64Array
    """Float64 [n_columns, n_columns]: eigenvectors of G, one a row."""
    values: Float64Array
    """Float64 [n_columns]: eigenvalues of G."""
    rotated: Float64Array
    """Float64 [n_items, n_columns]: the factors along the eigenvectors, where G is diagonal."""
    penalty: Penalty

    @classmethod
    def create(cls, factors: Float32Array, penalty: Penalty) -> Self:
        from threadpoolctl import threadpool_limits  # to import it changes the environment

        # The compiled functions know arrays that can be written.
        factors = np.require(factors, np.float32, ["C", "W"])
        wide = factors.astype(np.float64)
        with threadpool_limits(1, user_api="blas"):  # the same bits whatever the number of threads
            gram = penalty.unobserved_weight * (wide.T @ wide)
            values, vectors = np.linalg.eigh(gram)
            rotated = wide @ vectors
        # Smaller ones are what rounding left of zeros.
        values = np.maximum(values, len(values) * np.finfo(np.float64).eps * values[-1])
        return cls(factors, gram, np.ascontiguousarray(vectors.T), values, rotated, penalty)

    def solve(self, indptr: Int64Array, items: Int32Array) -> Float32Array:
        """Float32 [n_users, n_columns]; each row a function of the user's own entries, bit for bit.

        Args:
            indptr: int64 [n_users + 1]; a user's ratings are entries indptr[u] to indptr[u + 1].
            items: int32 [n_ratings].
        """
        n_users = len(indptr) - 1
        solutions = np.zeros((n_users, self.factors.shape[1]), np.float32)
        self.solve_range(indptr, items, 0, n_users, solutions, np.zeros(n_users))
        return solutions

    def solve_range(
        self,
        indptr: Int64Array,
        items: Int32Array,
        first: int,
        stop: int,
        solutions: Float32Array,
        minima: Float64Array,
    ) -> None:
        """Solve users first to stop - 1, into their rows of zeros; for several threads at a time.

        Args:
            solutions: float32 [n_users, n_columns].
            minima: float64 [n_users]: what is left of each user's sum at the minimum.
        """
        _solve_users(
            self.factors,
            self.gram,
            self.directions,
            self.values,
            self.rotated,
            indptr,
            items,
            self.penalty.ridges(np.diff(indptr[first : stop + 1]), len(self.factors)),
            first,
            solutions,
            minima,
        )


@compiled_unlocked
def _solve_users(
    factors: Float32Array,
    gram: Float64Array,
    directions: Float64Array,
    values: Float64Array,
    rotated: Float64Array,
    indptr: Int64Array,
    items: Int32Array,
    ridges: Float64Array,
    first: int,
    solutions: Float32Array,
    minima: Float64Array,
) -> None:
    size = factors.shape[1]
    # Shared by all users. What one leaves in the padding of the next bears on nothing, but has to
    # be a number: arithmetic on what memory held before may be slow.
    width = padded(size) + _STAGGER
    rated = np.zeros((max(_ROWS, size), width))
    system = np.zeros((padded(size), width))
    projection, solution = np.zeros(size), np.zeros(size)
    for at in range(len(ridges)):
        user = first + at
        rated_items = items[indptr[user] : indptr[user + 1]]
        if len(rated_items) < size:
            minima[user] = _solve_dual(
                directions,
                values,
                rotated,
                rated_items,
                ridges[at],
                rated,
                system,
                projection,
                solution,
            )
        else:
            minima[user] = _solve_primal(
                factors, gram, rated_items, ridges[at], rated, system, projection, solution
            )
        for column in range(size):
            solutions[user, column] = solution[column]


@compiled
def _solve_dual(
    directions: Float64Array,
    values: Float64Array,
    rotated: Float64Array,
    items: Int32Array,
    ridge: float,
    rated: Float64Array,
    system: Float64Array,
    projection: Float64Array,
    solution: Float64Array,
) -> float:
    """The smaller system where ratings are fewer than columns; the minimum.

    Along the eigenvectors G + ridge I is a diagonal D, and B = A D^-1/2 has
    p = D^-1/2 B'(BB' + I)^-1 1. The minimum is the sum of (BB' + I)^-1 1.
    """
    n, size = len(items), len(solution)
    for column in range(size):
        projection[column] = 1.0 / np.sqrt(values[column] + ridge)
    _gather_transposed(rotated, items, projection, rated)
    start_gram(system, n, 1.0)
    add_gram(system, n, rated, size)
    factorize_tiles(system, n)
    weights = solution  # long enough, and only filled below
    for at in range(n):
        weights[at] = 1.0
    solve(system, n, weights)
    minimum = 0.0
    for at in range(n):
        minimum += weights[at]
    for column in range(size):
        projection[column] *= _inner(rated, column, weights, n)
    _rotate_back(directions, projection, solution)
    return minimum


@compiled
def _solve_primal(
    factors: Float32Array,
    gram: Float64Array,
    items: Int32Array,
    ridge: float,
    rated: Float64Array,
    system: Float64Array,
    projection: Float64Array,
    solution: Float64Array,
) -> float:
    """p = (G + ridge I + A'A)^-1 A'1, A taken ``_ROWS`` ratings at a time; the minimum n - 1'Ap."""
    size = len(solution)
    _start_from(gram, ridge, system)
    projection[:] = 0.0
    for start in range(0, len(items), _ROWS):
        count = min(_ROWS, len(items) - start)
        _gather(factors, items, start, count, rated, projection)
        add_gram(system, size, rated, count)
    factorize_tiles(system, size)
    solution[:] = projection
    solve(system, size, solution)
    minimum = np.float64(len(items))
    for column in range(size):
        minimum -= projection[column] * solution[column]
    return minimum


@compiled
def _start_from(gram: Float64Array, ridge: float, system: Float64Array) -> None:
    """Set the upper triangle of the system to G + ridge I."""
    size = len(gram)
    start_gram(system, size, ridge)
    for row in range(size):
        for column in range(np.uintp(row), np.uintp(size)):
            system[row, column] += gram[row, column]


@compiled
def _gather(
    factors: Float32Array,
    items: Int32Array,
    start: int,
    count: int,
    rated: Float64Array,
    projection: Float64Array,
) -> None:
    """Copy the rated rows of the factors to ``rated``, and add their sum to A'1."""
    for at in range(count):
        item = items[start + at]
        for column in range(len(projection)):
            rated[at, column] = factors[item, column]
    whole = count // 4 * 4
    for at in range(0, whole, 4):  # four at a time: fewer passes over the sums
        for column in range(len(projection)):
            projection[column] += (rated[at, column] + rated[at + 1, column]) + (
                rated[at + 2, column] + rated[at + 3, column]
            )
    for at in range(whole, count):
        for column in range(len(projection)):
            projection[column] += rated[at, column]


@compiled
def _gather_transposed(
    rotated: Float64Array, items: Int32Array, scale: Float64Array, rated: Float64Array
) -> None:
    for at in range(len(items)):
        for column in range(len(scale)):
            rated[column, at] = rotated[items[at], column] * scale[column]


@compiled
def _rotate_back(directions: Float64Array, along: Float64Array, solution: Float64Array) -> None:
    """solution = sum over k of along[k] * directions[k]."""
    solution[:] = 0.0
    for k in range(len(along)):
        for column in range(len(solution)):
            solution[column] += along[k] * directions[k, column]


@compiled_sum
def _inner(left: Float64Array, row: int, right: Float64Array, size: int) -> float:
    total = 0.0
    for at in range(size):
        total += left[row, at] * right[at]
    return total
