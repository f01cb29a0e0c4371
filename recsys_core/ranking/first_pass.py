"""Products of users and items that find candidates for a list, with a bound on their error.

Both hold the items in blocks, take a block of users, and collect what may be in the users' lists.
The 16-bit product is the faster one where the CPU has the instruction for it; its steps are some 20
times as coarse as the bound on float32's rounding.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from recsys_core.arrays import Float32Array, Float64Array
from recsys_core.compile.int16_tile import TILE_USERS
from recsys_core.compile.score_masks import LANES
from recsys_core.ranking.int16_kernels import USERS_AT_ONCE, collect_from_all
from recsys_core.ranking.quantization import Quantized, measure, quantize
from recsys_core.ranking.top_k_kernels import SeenItems, UserBlock, collect, mask_absent, mask_seen

_UNIT = float(np.finfo(np.float32).eps) / 2
_TINY = float(np.finfo(np.float32).tiny)
_THRESHOLD_ROUNDINGS = 4  # of a threshold, as float32


@dataclass(frozen=True)
class Catalogue:
    """The items in descending order of their norms, and how they are cut into blocks."""

    factors: Float32Array  # [n_items, n_columns]
    norms: Float64Array  # [n_items]
    width: int  # items of a block, a multiple of LANES

    @cached_property
    def largest(self) -> Float64Array:
        """[n_blocks]: bound on the norms of each block and of those after it."""
        largest: Float64Array = self.norms[:: self.width] * (1 + 1e-6)  # the norms' own rounding
        return largest


class RoughProduct(Protocol):
    """What ``top_k`` asks of a product."""

    def take_users(self, factors: Float32Array, norms: Float64Array) -> Float64Array:
        """Make these the users to score.

        Args:
            factors: [n_users, n_columns], no more than a block.
            norms: [n_users].

        Returns:
            [n_users]: twice the bound on |rough score - score|, once for each side of a comparison.
        """

    def collect(self, block: UserBlock, seen: SeenItems) -> None:
        """Add the candidates of the users that were taken, from all items, to ``block``."""


class Float32Product:
    """The BLAS's.

    The bound is that of an inner product in any order (Higham, *Accuracy and Stability of
    Numerical Algorithms*, section 3.1): |fl(u.v) - u.v| <= gamma_n |u|.|v| <= gamma_n ||u|| ||v||.
    """

    def __init__(self, items: Catalogue, users_per_block: int) -> None:
        n_columns, width = items.factors.shape[1], items.width
        self._largest, self._n_items = items.largest, len(items.factors)
        self._blocks = np.zeros((len(items.largest), n_columns, width), dtype=np.float32)
        for block, at in zip(self._blocks, range(0, self._n_items, width), strict=True):
            part = items.factors[at : at + width]
            block[:, : len(part)] = part.T
        self._users = np.zeros((users_per_block, n_columns), dtype=np.float32)
        self._scores = np.empty((users_per_block, width), dtype=np.float32)

    def take_users(self, factors: Float32Array, norms: Float64Array) -> Float64Array:
        # One shape for every product: a row's scores then come from the same BLAS kernel wherever
        # the row stands, so lists do not depend on who shares the block.
        self._users[: len(factors)] = factors
        self._users[len(factors) :] = 0.0
        return _bound_roundings(norms * self._largest[0], self._users.shape[1])

    def collect(self, block: UserBlock, seen: SeenItems) -> None:
        scores, width, n_users = self._scores.ravel(), self._scores.shape[1], len(block.n_found)
        start = 0
        for number, (largest, end) in enumerate(zip(self._largest, seen.ends, strict=True)):
            first = number * width
            np.dot(self._users, self._blocks[number], out=self._scores)
            mask_absent(scores, width, self._n_items - first)
            mask_seen(scores, width, seen, start, end, 0)
            if not collect(block, scores, width, first, largest, 0, n_users):
                break
            start = end


class Int16Product:
    """Integers of 16 bits, added up in 32, see ``int16_kernels``.

    With u' and v' as the factors that the integers stand for, the bound is

        |u'.v' - u.v| <= ||u' - u|| ||v|| + ||u'|| ||v' - v||

    from the norms of what quantizing took away, and the roundings from integers to scores.
    """

    _SCORE_ROUNDINGS = 3  # the sum as float32, and two products

    def __init__(self, items: Catalogue, users_per_block: int) -> None:
        n_items, n_columns = items.factors.shape
        self._column_scale = _even_out_columns(items.factors)
        self._items = Quantized.create(n_items, n_columns, LANES)
        measure(items.factors, self._column_scale, self._items)
        self._largest_norm = float(self._items.norm.max())
        # Scores are multiplied by a scale of the item's and one of the user's. The largest norm is
        # in the user's, so that scales neither overflow nor lose digits where scores do not.
        self._unit = self._largest_norm or 1.0
        quantize(items.factors, self._column_scale, 1 / self._unit, self._items)
        self._largest_error = float(self._items.error.max())
        self._users = Quantized.create(users_per_block, n_columns, TILE_USERS)
        self._scores = np.empty(USERS_AT_ONCE * items.width, dtype=np.float32)
        self._largest = items.largest

    def take_users(self, factors: Float32Array, norms: Float64Array) -> Float64Array:
        measure(factors, 1 / self._column_scale, self._users)
        quantize(factors, 1 / self._column_scale, self._unit, self._users)
        error = self._users.error[: len(factors)]
        rounded_norm = self._users.norm[: len(factors)] + error
        slack: Float64Array = 2 * (error * self._largest_norm + rounded_norm * self._largest_error)
        largest_scores = rounded_norm * (self._largest_norm + self._largest_error)
        slack += _bound_roundings(largest_scores, self._SCORE_ROUNDINGS)
        return slack * (1 + 1e-6)  # the norms' own rounding

    def collect(self, block: UserBlock, seen: SeenItems) -> None:
        collect_from_all(block, self._users, self._items, self._largest, seen, self._scores)


def _even_out_columns(factors: Float32Array) -> Float64Array:
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


def _bound_roundings(largest_scores: Float64Array, n: int) -> Float64Array:
    """Twice the effect of n roundings on a score, and of those of a threshold."""
    n += _THRESHOLD_ROUNDINGS
    gamma = n * _UNIT / (1 - n * _UNIT)
    underflow = n * _TINY  # which no relative bound covers
    slack: Float64Array = 2 * (gamma * largest_scores + underflow)
    return slack
