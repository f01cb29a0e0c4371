"""The first pass of a search for the best items: rough scores, and a bound on their error.

Either first pass holds the items in blocks, is given the queries of a block of users, and collects
the candidates for their lists. The 16-bit one is faster where the CPU has the instruction for it;
its steps are some 20 times as coarse as the bound on float32's rounding.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array, Int64Array
from recsys_core.compile.int16_tile import TILE_USERS
from recsys_core.compile.score_masks import LANES
from recsys_core.ranking.int16_kernels import USERS_AT_ONCE, collect_from_all
from recsys_core.ranking.quantization import Quantized, measure, quantize
from recsys_core.ranking.top_k_kernels import (
    QueryBlock,
    SeenItems,
    add_sparse,
    collect,
    mask_absent,
    mask_seen,
)

_UNIT = float(np.finfo(np.float32).eps) / 2
_TINY = float(np.finfo(np.float32).tiny)
_THRESHOLD_ROUNDINGS = 4  # of a threshold, as float32


@dataclass(frozen=True)
class SortedItems:
    """The items in descending order of their norms, and how they are cut into blocks."""

    factors: Float32Array  # [n_items, n_columns]
    norms: Float64Array  # [n_items]
    width: int  # items of a block, a multiple of LANES

    @cached_property
    def largest(self) -> Float64Array:
        """[n_blocks]: bound on the norms of each block and of those after it."""
        largest: Float64Array = self.norms[:: self.width] * (1 + 1e-6)  # the norms' own rounding
        return largest


class FirstPass(Protocol):
    """What ``top_k`` asks of a first pass."""

    def set_queries(self, queries: Float32Array, norms: Float64Array) -> Float64Array:
        """Make these the users to score.

        Args:
            queries: [n_users, n_columns], no more than a block: the users' factors.
            norms: [n_users] of the queries.

        Returns:
            The error margins [n_users]: twice the bound on |rough score - score|, once for each
            side of a comparison.
        """

    def collect(self, block: QueryBlock, seen: SeenItems) -> None:
        """Add the candidates of the queries that were set, from all items, to ``block``."""


class Float32FirstPass:
    """Rough scores are the BLAS's, in float32.

    The bound is that of an inner product in any order (Higham, *Accuracy and Stability of
    Numerical Algorithms*, section 3.1): |fl(u.v) - u.v| <= gamma_n |u|.|v| <= gamma_n ||u|| ||v||.
    """

    def __init__(self, items: SortedItems, users_per_block: int) -> None:
        n_columns, width = items.factors.shape[1], items.width
        self._largest, self._n_items = items.largest, len(items.factors)
        self._blocks = np.zeros((len(items.largest), n_columns, width), dtype=np.float32)
        for block, at in zip(self._blocks, range(0, self._n_items, width), strict=True):
            part = items.factors[at : at + width]
            block[:, : len(part)] = part.T
        self._queries = np.zeros((users_per_block, n_columns), dtype=np.float32)
        self._scores = np.empty((users_per_block, width), dtype=np.float32)

    def set_queries(self, queries: Float32Array, norms: Float64Array) -> Float64Array:
        # One shape for every product of matrices: a row's scores then come from the same BLAS
        # kernel wherever the row stands, so lists do not depend on who shares the block.
        self._queries[: len(queries)] = queries
        self._queries[len(queries) :] = 0.0
        return _bound_roundings(norms * self._largest[0], self._queries.shape[1])

    def collect(self, block: QueryBlock, seen: SeenItems) -> None:
        scores, width, n_users = self._scores.ravel(), self._scores.shape[1], len(block.n_found)
        start = 0
        for number, (largest, end) in enumerate(zip(self._largest, seen.ends, strict=True)):
            first = number * width
            np.dot(self._queries, self._blocks[number], out=self._scores)
            add_sparse(block.sparse, scores, width, number, len(self._largest), 0, n_users)
            mask_absent(scores, width, self._n_items - first)
            mask_seen(scores, width, seen, start, end, 0)
            if not collect(block, scores, width, first, largest, 0, n_users):
                break
            start = end


class Int16FirstPass:
    """Rough scores are sums in 32 bits of products of 16-bit integers, see ``int16_kernels``.

    With u' and v' as the factors that the integers stand for, the bound is

        |u'.v' - u.v| <= ||u' - u|| ||v|| + ||u'|| ||v' - v||

    from the norms of what quantizing took away, and the roundings from integers to scores.
    """

    _SCORE_ROUNDINGS = 3  # the sum as float32, and two products

    def __init__(self, items: SortedItems, users_per_block: int) -> None:
        n_items, n_columns = items.factors.shape
        self._column_scale = _equilibrate_columns(items.factors)
        self._items = Quantized.create(n_items, n_columns, LANES)
        measure(items.factors, self._column_scale, self._items)
        self._largest_norm = float(self._items.norm.max())
        # Scores are multiplied by a scale of the item's and one of the user's. The largest norm is
        # in the user's, so that scales neither overflow nor lose digits where scores do not.
        self._unit = self._largest_norm or 1.0
        quantize(items.factors, self._column_scale, 1 / self._unit, self._items)
        self._largest_error = float(self._items.error.max())
        self._queries = Quantized.create(users_per_block, n_columns, TILE_USERS)
        self._scores = np.empty(USERS_AT_ONCE * items.width, dtype=np.float32)
        self._largest = items.largest

    def set_queries(self, queries: Float32Array, norms: Float64Array) -> Float64Array:
        measure(queries, 1 / self._column_scale, self._queries)
        quantize(queries, 1 / self._column_scale, self._unit, self._queries)
        error = self._queries.error[: len(queries)]
        rounded_norm = self._queries.norm[: len(queries)] + error
        margin: Float64Array = 2 * (error * self._largest_norm + rounded_norm * self._largest_error)
        largest_scores = rounded_norm * (self._largest_norm + self._largest_error)
        margin += _bound_roundings(largest_scores, self._SCORE_ROUNDINGS)
        return margin * (1 + 1e-6)  # the norms' own rounding

    def collect(self, block: QueryBlock, seen: SeenItems) -> None:
        collect_from_all(block, self._queries, self._items, self._largest, seen, self._scores)


def _equilibrate_columns(factors: Float32Array) -> Float64Array:
    """Powers of two [n_columns] to multiply the columns of items by, and to divide those of users.

    No score changes, but the norms do, and the steps with them. Some models' columns differ by a
    factor of hundreds, nmf's above all, where users' differ the other way round; others' columns
    are much alike on both sides. Going half the way serves both, and no product of norms becomes
    more than 2 sqrt(n_columns) times the largest there was: scales do not overflow.
    """
    largest = np.abs(factors).max(axis=0).astype(np.float64)
    largest[largest == 0] = 1.0
    scale: Float64Array = np.exp2(-np.rint(np.log2(largest) / 2))
    return scale


def bound_sparse_roundings(
    dense: Float64Array, sparse: Float64Array, n_weights: Int64Array
) -> Float64Array:
    """Twice the effect of adding the sparse part in float32: a product and a sum for each weight.

    Args:
        dense, sparse: [n_users] bounds on the two parts of rough scores.
        n_weights: [n_users]: weights of each user.
    """
    n = (n_weights + 2) * _UNIT
    margin: Float64Array = 2 * (n / (1 - n) * (dense + sparse) + n_weights * _TINY)
    return margin * (n_weights > 0)


def _bound_roundings(largest_scores: Float64Array, n: int) -> Float64Array:
    """Twice the effect of n roundings on a score, and of those of a threshold."""
    n += _THRESHOLD_ROUNDINGS
    gamma = n * _UNIT / (1 - n * _UNIT)
    underflow = n * _TINY  # which no relative bound covers
    margin: Float64Array = 2 * (gamma * largest_scores + underflow)
    return margin
