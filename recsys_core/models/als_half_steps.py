"""The half-steps of alternating least squares: users' factors given the items', and vice versa.

A row is a user or an item of the side that is solved for; the others are those of the other side.
On the CPU each row is solved by compiled code, in threads; on a GPU batches of rows are, by torch.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Int32Array, Int64Array
from recsys_core.linalg.weighted_ridge import Penalty, WeightedRidge
from recsys_core.model_form.rating_weights import EQUAL, RatingWeights
from recsys_core.sparse import split_pattern

if TYPE_CHECKING:
    import torch

_ROWS_AT_ONCE = 128
"""What a thread takes at a time: a few milliseconds of work, so that threads end together."""
_BATCH_NUMBERS = 2**25
"""Numbers in the largest array of a batch, but that one row is never cut: 256 MiB of float64."""

_LEAST_CONFIDENCE = 0.01
"""Of a pair whose rating is so far below the mean that it would be zero or less."""


def measure_confidences(ratings: Csr, weights: RatingWeights) -> Float32Array | None:
    """What the error of each stored rating counts, above 0; None where all count 1."""
    if not weights.per_unit:
        return None
    return weights.weigh_values(ratings.data, least=_LEAST_CONFIDENCE)


class Side(Protocol):
    """The ratings of one side, users or items, a row each, on the device it is solved on."""

    def to_device(self, factors: Float32Array) -> Any:
        """Factors on the device that the side is solved on."""

    def to_host(self, factors: Any) -> Float32Array:
        """Factors from there, as a numpy array."""

    def solve(self, other_factors: Any) -> tuple[Any, Any]:
        """The half-step: this side's factors given the other's, and the objective with them.

        The objective leaves out the L2 terms of ``other_factors``. It is a number or a tensor of
        one, NaN where a system could not be solved.
        """

    def measure_penalty(self, factors: Any) -> Any:
        """The L2 terms of this side's factors, as a number or a tensor of one."""


@dataclass(frozen=True)
class CompiledSide:
    """Solved by ``WeightedRidge`` on the CPU, with the same bits for any number of threads."""

    indptr: Int64Array
    indices: Int32Array
    """Int32 [n_ratings]: the other side's number in each rating."""
    confidences: Float32Array | None
    """Float32 [n_ratings]; None where all are 1."""
    n_others: int
    penalty: Penalty
    n_threads: int

    @classmethod
    def create(
        cls,
        ratings: Csr,
        penalty: Penalty,
        weights: RatingWeights = EQUAL,
        *,
        n_threads: int | None = None,
    ) -> Self:
        """``n_threads`` unset: as many as this process has CPUs."""
        return cls(
            *split_pattern(ratings),
            confidences=measure_confidences(ratings, weights),
            n_others=ratings.shape[1],
            penalty=penalty,
            n_threads=n_threads or len(os.sched_getaffinity(0)),
        )

    def to_device(self, factors: Float32Array) -> Float32Array:
        return factors

    def to_host(self, factors: Float32Array) -> Float32Array:
        return factors

    def solve(self, other_factors: Float32Array) -> tuple[Float32Array, float]:
        ridge = WeightedRidge.create(other_factors, self.penalty)
        n_rows = len(self.indptr) - 1
        n_factors = other_factors.shape[1]
        solutions, minima = np.zeros((n_rows, n_factors), np.float32), np.zeros(n_rows)

        def solve_from(first: int) -> None:
            stop = min(first + _ROWS_AT_ONCE, n_rows)
            ridge.solve_range(
                self.indptr, self.indices, self.confidences, first, stop, solutions, minima
            )

        with ThreadPoolExecutor(self.n_threads) as pool:
            list(pool.map(solve_from, range(0, n_rows, _ROWS_AT_ONCE)))
        return solutions, float(minima.sum())

    def measure_penalty(self, factors: Float32Array) -> float:
        ridges = self.penalty.ridges(np.diff(self.indptr), self.n_others)
        return float((ridges * np.square(factors, dtype=np.float64).sum(axis=1)).sum())


@dataclass(frozen=True)
class TorchSide:
    """Solved by torch, in batches of rows with about as many ratings each, padded to the longest.

    Systems are float64: what they cost is a fraction of a second also where a GPU is slow at that.
    """

    rows: "torch.Tensor"
    """Int64 [n_rows]: those with most ratings first."""
    starts: "torch.Tensor"
    """Int64 [n_rows]: where the ratings of ``rows`` begin in ``indices``."""
    counts: "torch.Tensor"
    """Int64 [n_rows]: how many there are."""
    ridges: "torch.Tensor"
    """Float64 [n_rows]."""
    indices: "torch.Tensor"
    """Int64 [n_ratings]: the other side's number in each rating."""
    confidences: "torch.Tensor | None"
    """Float32 [n_ratings]; None where all are 1."""
    longest_first: Int64Array
    """``counts`` on the CPU."""
    n_others: int
    unobserved_weight: float

    @classmethod
    def create(
        cls, ratings: Csr, penalty: Penalty, device: str, weights: RatingWeights = EQUAL
    ) -> Self:
        import torch

        indptr, indices = split_pattern(ratings)
        counts = np.diff(indptr)
        rows = np.argsort(-counts, kind="stable")
        ridges = penalty.ridges(counts[rows], ratings.shape[1])
        measured = measure_confidences(ratings, weights)
        return cls(
            rows=torch.from_numpy(rows).to(device),
            starts=torch.from_numpy(indptr[rows]).to(device),
            counts=torch.from_numpy(counts[rows]).to(device),
            ridges=torch.from_numpy(ridges).to(device),
            indices=torch.from_numpy(indices.astype(np.int64)).to(device),
            confidences=None if measured is None else torch.from_numpy(measured).to(device),
            longest_first=counts[rows],
            n_others=ratings.shape[1],
            unobserved_weight=penalty.unobserved_weight,
        )

    def to_device(self, factors: Float32Array) -> "torch.Tensor":
        import torch

        return torch.from_numpy(factors).to(self.rows.device)

    def to_host(self, factors: "torch.Tensor") -> Float32Array:
        taken: Float32Array = factors.cpu().numpy()
        return taken

    def solve(self, other_factors: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        import torch

        wide = other_factors.double()
        gram = self.unobserved_weight * (wide.T @ wide)
        n_factors = other_factors.shape[1]
        # Short rows are padded with number n_others, whose factors are zero.
        padded = torch.cat([other_factors, other_factors.new_zeros(1, n_factors)])
        solutions = other_factors.new_empty(len(self.rows), n_factors)
        minimum = wide.new_zeros(())
        for batch in self._cut_batches(n_factors):
            solved, left = self._solve_batch(padded, gram, batch)
            solutions[self.rows[batch]] = solved.float()
            minimum += left
        return solutions, minimum

    def _cut_batches(self, n_factors: int) -> Iterator[slice]:
        first = 0
        while first < len(self.longest_first):
            size = n_factors * max(int(self.longest_first[first]), n_factors)
            stop = min(first + max(_BATCH_NUMBERS // size, 1), len(self.longest_first))
            yield slice(first, stop)
            first = stop

    def _solve_batch(
        self, padded: "torch.Tensor", gram: "torch.Tensor", batch: slice
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Solutions float64 [batch, n_factors] and the sum of the minima."""
        import torch

        inside, places = self._find_places(batch)
        others = torch.where(inside, self.indices[places], self.n_others)
        rated = padded[others].double()  # [batch, longest, n_factors]
        weighed, most = rated, self.counts[batch].sum()
        if self.confidences is not None:
            confidences = torch.where(inside, self.confidences[places], 0.0).double()
            weighed, most = rated * confidences.unsqueeze(2), confidences.sum()
        projection = weighed.sum(dim=1)
        systems = torch.baddbmm(gram, weighed.mT, rated)
        systems.diagonal(dim1=1, dim2=2).add_(self.ridges[batch, None])
        factor, failed = torch.linalg.cholesky_ex(systems)
        solved = torch.cholesky_solve(projection.unsqueeze(2), factor).squeeze(2)
        left = most - (projection * solved).sum()
        return solved, torch.where(failed.any(), torch.nan, left)

    def _find_places(self, batch: slice) -> "tuple[torch.Tensor, torch.Tensor]":
        """[batch, longest]: where each row has ratings, and their places in ``indices``, int64."""
        import torch

        longest = int(self.longest_first[batch.start])
        offsets = torch.arange(longest, device=self.rows.device)
        inside = offsets < self.counts[batch, None]
        return inside, torch.where(inside, self.starts[batch, None] + offsets, 0)

    def measure_penalty(self, factors: "torch.Tensor") -> "torch.Tensor":
        return (self.ridges * factors[self.rows].double().square().sum(dim=1)).sum()
