"""Ridge regression of each user on all items, of which those rated weigh more, compiled.

A user's vector p minimises

    sum over rated items c_i (q_i . p - 1)^2 + w * sum over all items (q_i . p)^2 + ridge * |p|^2

that is (G + ridge I + A'C A) p = A'C 1, where G = w Q'Q, A [n, n_columns] are the rated items' rows
of Q, and C is the diagonal matrix of their confidences c_i: I where none are given. Hu, Koren and
Volinsky, *Collaborative Filtering for Implicit Feedback Datasets*, ICDM 2008.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from recsys_core.compile.padding import pad_columns, pad_width
from recsys_core.linalg.normal_equations import solve_users
from recsys_core.linalg.user_systems import SharedGram


@dataclass(frozen=True)
class Penalty:
    """The weights of the objective's terms beside the ratings.

    In training of ALS users and items trade places, and "user" is a row of the side solved for.
    """

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
    """The factors of all items with their Gram matrix, and what users' factors are penalised by."""

    shared: SharedGram
    penalty: Penalty

    @classmethod
    def create(cls, factors: Float32Array, penalty: Penalty) -> Self:
        from threadpoolctl import threadpool_limits  # to import it changes the environment

        wide = factors.astype(np.float64)
        with threadpool_limits(1, user_api="blas"):  # the same bits whatever the number of threads
            gram = penalty.unobserved_weight * (wide.T @ wide)
            eigenvalues, eigenvectors = np.linalg.eigh(gram)
            rotated = wide @ eigenvectors
        # Smaller ones are what rounding left of zeros.
        rounding = len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues[-1]
        shared = SharedGram(
            factors=pad_columns(factors.astype(np.float32, copy=False)),
            gram=_pad_both(gram),
            rotated_factors=pad_columns(rotated),
            eigenvectors=_pad_both(eigenvectors.T),
            eigenvalues=np.maximum(eigenvalues, rounding),
        )
        return cls(shared, penalty)

    def solve(
        self, indptr: Int64Array, items: Int32Array, confidences: Float32Array | None = None
    ) -> Float32Array:
        """Float32 [n_users, n_columns]; each row a function of the user's own entries, bit for bit.

        Args:
            indptr: int64 [n_users + 1]; a user's ratings are entries indptr[u] to indptr[u + 1].
            items: int32 [n_ratings].
            confidences: float32 [n_ratings], above 0; None where all are 1.
        """
        n_users = len(indptr) - 1
        solutions = np.zeros((n_users, len(self.shared.eigenvalues)), np.float32)
        self.solve_range(indptr, items, confidences, 0, n_users, solutions, np.zeros(n_users))
        return solutions

    def solve_range(
        self,
        indptr: Int64Array,
        items: Int32Array,
        confidences: Float32Array | None,
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
        counts = np.diff(indptr[first : stop + 1])
        solve_users(
            self.shared,
            indptr[first : stop + 1],
            items,
            confidences,
            np.ones(counts.max(initial=0)),
            np.zeros_like(counts),
            self.penalty.ridges(counts, len(self.shared.factors)),
            solutions[first:stop],
            minima[first:stop],
        )


def _pad_both(matrix: Float64Array) -> Float64Array:
    """A square matrix with rows of zeros after its own too."""
    missing = pad_width(len(matrix)) - len(matrix)
    return pad_columns(np.pad(matrix, ((0, missing), (0, 0))))
