"""Exact top-k of user_factors . item_factors without the items each user has seen.

A model's sparse part, where it has one beside its factors, is added to each score: to the rough
ones in float32 block by block, to the exact ones in float64 in the order of the items it is from.

The order is that of the float64 scores, see ``exact_order``. A first pass over blocks of items, in
16-bit integers or in float32, finds the candidates, the few that can still be in a list; only those
are scored in float64. What makes this exact is the first pass's bound on its own error, see
``first_pass``.

Items are held in descending order of their norm: the first block then gives a high threshold, and
once ||u|| ||v|| is below every user's threshold all further blocks can be skipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys_core.arrays import (
    Csr,
    Float32Array,
    Float64Array,
    Int16Array,
    Int32Array,
    Int64Array,
)
from recsys_core.compile.int16_tile import FEATURE
from recsys_core.compile.jit import has_feature
from recsys_core.compile.score_masks import LANES
from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.ranking.exact_order import take_lowest_unseen
from recsys_core.ranking.first_pass import (
    FirstPass,
    Float32FirstPass,
    Int16FirstPass,
    SortedItems,
    bound_sparse_roundings,
)
from recsys_core.ranking.top_k_kernels import (
    QueryBlock,
    SeenItems,
    SparseQueries,
    finish,
    group_seen,
    group_sparse,
)
from recsys_core.sparse import split_csr, split_pattern

USERS_PER_BLOCK = 384
USERS_AT_ONCE = 12 * USERS_PER_BLOCK
"""Users whose factors and lists a worker has in memory together."""
_WIDTHS = range(384, 641, LANES)
"""Items in a block: the scores of a block of users, 0.6 to 1 MB, then stay in a core's cache."""
_ROUGH_PER_EXACT = 128
"""Rough scores that the 16-bit pass is ahead of the float32 one in the time of one exact score."""
_LOWEST = np.float32(np.finfo(np.float32).min / 2)
"""Below any score, as overflow is refused, and above the -inf of masked items."""
_MOST_ADDED = 2**23
"""Numbers that weights add to the scores of a block of users, unless one user has more: 48 MiB."""


@dataclass(frozen=True)
class RankedItems:
    """Ranked lists of several users, end to end."""

    counts: Int64Array
    """[n_users]: length of each user's list, at most k, less where fewer items are unseen."""
    item_index: Int32Array
    """[counts.sum()]: best first."""
    score: Float32Array
    """[counts.sum()]: the float64 score, rounded."""

    @property
    def user_row(self) -> Int64Array:
        """[counts.sum()]: the row of ``user_factors`` each entry belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def rank(self) -> Int32Array:
        """[counts.sum()]: 1 for each user's best item."""
        return number_within(self.counts)


def number_within(lengths: Int64Array) -> Int32Array:
    """1, 2, ... within each of lists of these lengths, end to end."""
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return (np.arange(len(starts)) - starts + 1).astype(np.int32)


class TopKScorer:
    """Scores blocks of users against all items; holds its buffers between calls.

    Not thread-safe. A list depends on its own user's factors and seen items alone.
    """

    def __init__(
        self,
        item_factors: Float32Array,
        k: int,
        first_pass: type[Float32FirstPass] | type[Int16FirstPass] | None = None,
        weights: ItemWeights | None = None,
    ) -> None:
        """Arrange the items for scoring.

        Args:
            item_factors: float32 [n_items, n_columns], finite.
            k: length of the lists, at least 1.
            first_pass: changes no list; None for the fastest of this CPU.
            weights: the sparse part, its targets being these items; None where there is none.

        Raises:
            ValueError: k < 1, no items, or factors that are not finite.
        """
        if len(item_factors) == 0:
            raise ValueError("there are no items to rank")
        if k < 1:
            raise ValueError(f"k = {k}, must be at least 1")
        if not np.isfinite(item_factors).all():
            raise ValueError("item_factors must be finite")
        self.n_items, self.n_columns = item_factors.shape
        self.k = min(k, self.n_items)
        norms = np.linalg.norm(item_factors.astype(np.float64), axis=1)
        self._item_at = np.argsort(-norms, kind="stable").astype(np.int32)  # position -> item_index
        self._items = SortedItems(
            factors=item_factors[self._item_at].astype(np.float32, copy=False),
            norms=norms[self._item_at],
            width=choose_width(self.n_items),
        )
        self._block_of, self._column_of = np.divmod(
            np.argsort(self._item_at).astype(np.int32), np.int32(self._items.width)
        )
        first_pass = first_pass or choose_first_pass()
        self._first_pass: FirstPass = first_pass(self._items, USERS_PER_BLOCK)
        self._buffers = _Buffers.create(self.n_columns, self.k)
        self._is_seen = np.zeros(self.n_items, dtype=np.bool_)
        self._sparse = SparsePart.create(weights, self._item_at, self._items.width)

    def rank(
        self, user_factors: Float32Array, seen: Csr, user_weights: Csr | None = None
    ) -> RankedItems:
        """The k best unseen items of each user.

        Args:
            user_factors: float32 [n_users, n_columns], finite.
            seen: CSR [n_users, n_items]; its stored entries, zeros included, are left out.
            user_weights: ``ItemWeights.weigh`` of the users' ratings, where there is a sparse part.

        Returns:
            Ranked lists; a user with fewer than k unseen items gets them all.

        Raises:
            ValueError: user factors that are not finite, or so large that scores overflow.
        """
        n_users = len(user_factors)
        sparse = self._sparse.take_users(user_weights, n_users)
        largest = np.abs(user_factors).max(initial=0.0) * self.n_columns**0.5
        largest_score = largest * self._items.norms[0] + sparse.bound.max(initial=0.0)
        if not largest_score < np.finfo(np.float32).max / 4:
            raise ValueError("user_factors must be finite and their scores within float32")
        indptr, items = split_pattern(seen)
        counts = np.zeros(n_users, dtype=np.int64)
        item_index = np.empty((n_users, self.k), dtype=np.int32)
        score = np.empty((n_users, self.k), dtype=np.float32)
        for block in self._sparse.cut_blocks(sparse, n_users):
            self._rank_block(
                user_factors[block],
                indptr[block.start : block.stop + 1],
                items,
                (counts[block], item_index[block], score[block]),
                self._sparse.take_block(sparse, block),
            )
        listed = np.arange(self.k) < counts[:, None]
        return RankedItems(counts, item_index[listed], score[listed])

    def _rank_block(
        self,
        factors: Float32Array,
        indptr: Int64Array,
        items: Int32Array,
        lists: tuple[Int64Array, Int32Array, Float32Array],
        sparse: SparseQueries,
    ) -> None:
        """Rank up to USERS_PER_BLOCK users into ``lists``: counts, item_index, score."""
        n_users, buffers, (count, item_index, score) = len(factors), self._buffers, lists
        buffers.queries[:n_users] = factors
        norms = np.sqrt(np.einsum("ij,ij->i", factors, factors, dtype=np.float64))
        margin = self._first_pass.set_queries(buffers.queries[:n_users], norms)
        n_weights = np.diff(sparse.user_starts)
        dense_bound = norms * self._items.largest[0] + margin
        is_without_taste = (norms == 0) & (n_weights == 0)
        block = QueryBlock(
            k=self.k,
            queries=buffers.queries,
            factors=self._items.factors,
            item_at=self._item_at,
            norm=norms,
            error_margin=margin + bound_sparse_roundings(dense_bound, sparse.bound, n_weights),
            # All items tie for a user without taste: answered apart, as all are candidates.
            threshold=np.where(is_without_taste, np.float32(np.inf), _LOWEST),
            n_found=count,
            capacity=buffers.capacity,
            rough_score=buffers.rough_score,
            position=buffers.position,
            exact_score=buffers.exact_score,
            wide_query=buffers.wide_query,
            n_false_candidates=np.zeros(1, dtype=np.int64),
            sparse=sparse,
        )
        buffers.rough_score.fill(-np.inf)
        self._first_pass.collect(block, self._group_seen(indptr, items))
        finish(block, item_index, score)
        self._reconsider_first_pass(n_users, int(block.n_false_candidates[0]))
        for user in np.flatnonzero(is_without_taste).tolist():
            seen = items[indptr[user] : indptr[user + 1]]
            count[user] = take_lowest_unseen(seen, self._is_seen, item_index[user], score[user])

    def _reconsider_first_pass(self, n_users: int, n_false_candidates: int) -> None:
        """Go over to float32 where 16 bits tell too few items apart.

        For good: what makes it so, scores that are close for the norms, is in the items.
        """
        is_too_coarse = n_false_candidates * _ROUGH_PER_EXACT > n_users * self.n_items
        if is_too_coarse and isinstance(self._first_pass, Int16FirstPass):
            del self._first_pass  # before its successor is made: a worker has memory for one
            self._first_pass = Float32FirstPass(self._items, USERS_PER_BLOCK)

    def _group_seen(self, indptr: Int64Array, items: Int32Array) -> SeenItems:
        n_seen = int(indptr[-1] - indptr[0])
        seen = SeenItems(
            row=np.empty(n_seen, dtype=np.int32),
            column=np.empty(n_seen, dtype=np.int32),
            ends=np.empty(len(self._items.largest), dtype=np.int64),
        )
        group_seen(indptr, items, self._block_of, self._column_of, seen)
        return seen


@dataclass(frozen=True)
class _Buffers:
    """Memory of one scorer, allocated once: fresh memory is slow to touch."""

    queries: Float32Array  # [USERS_PER_BLOCK, n_columns]: users' factors
    capacity: int  # candidates that a user may have
    rough_score: Float32Array  # [USERS_PER_BLOCK * capacity] of the candidates
    position: Int32Array  # [USERS_PER_BLOCK * capacity] of the candidates
    exact_score: Float64Array  # [capacity]: scores of one user's candidates
    wide_query: Float64Array  # [n_columns]: one user's factors

    @classmethod
    def create(cls, n_columns: int, k: int) -> "_Buffers":
        # Two and a half lists, in whole groups: half as much means pruning twice as often.
        capacity = LANES * -(-5 * k // (2 * LANES))
        return cls(
            queries=np.zeros((USERS_PER_BLOCK, n_columns), dtype=np.float32),
            capacity=capacity,
            rough_score=np.empty(USERS_PER_BLOCK * capacity, dtype=np.float32),
            position=np.empty(USERS_PER_BLOCK * capacity, dtype=np.int32),
            exact_score=np.empty(capacity),
            wide_query=np.empty(n_columns),
        )


@dataclass
class SparsePart:
    """The sparse part as the kernels take it, by blocks of items; empty where there is none."""

    weights: ItemWeights | None
    starts: Int64Array
    """[n_items + 1]: rows of S."""
    lengths: Int64Array
    """[n_items] of the rows."""
    blocks: Int32Array
    columns: Int16Array
    values: Float32Array
    by_target: tuple[Int64Array, Int32Array, Float32Array]
    """S', targets being positions: starts, sources, values."""
    n_blocks: int
    wide_weights: Float64Array
    added_columns: Int16Array
    """Buffer, as large as any block of users has needed."""
    added: Float32Array

    @classmethod
    def create(cls, weights: ItemWeights | None, item_at: Int32Array, width: int) -> "SparsePart":
        """Arrange the weights for items in the order ``item_at``, in blocks of ``width``."""
        shared: dict[str, Any] = {
            "n_blocks": -(-len(item_at) // width),
            "added_columns": np.zeros(0, np.int16),
            "added": np.zeros(0, np.float32),
        }
        if weights is None:
            no_items, no_values = np.zeros(0, np.int32), np.zeros(0, np.float32)
            return cls(
                weights=None,
                starts=np.zeros(1, np.int64),
                lengths=np.zeros(0, np.int64),
                blocks=no_items,
                columns=np.zeros(0, np.int16),
                values=no_values,
                by_target=(np.zeros(len(item_at) + 1, np.int64), no_items, no_values),
                wide_weights=np.zeros(0),
                **shared,
            )
        by_position = weights.by_target[item_at]
        rows = by_position.T.tocsr()
        rows.sort_indices()
        starts, targets, values = split_csr(rows)
        blocks, columns = np.divmod(targets, np.int32(width))
        return cls(
            weights=weights,
            starts=starts,
            lengths=np.diff(starts),
            blocks=blocks,
            columns=columns.astype(np.int16),
            values=values,
            by_target=split_csr(by_position),
            wide_weights=np.zeros(weights.n_items),
            **shared,
        )

    def take_users(self, user_weights: Csr | None, n_users: int) -> SparseQueries:
        """The queries of all users, of which ``take_block`` takes some."""
        if (user_weights is None) != (self.weights is None):
            raise ValueError("user_weights belong to a scorer with item weights, and to no other")
        starts, items, weights = np.zeros(n_users + 1, np.int64), *self.by_target[1:]
        bound = np.zeros(n_users)
        if user_weights is not None and self.weights is not None:
            starts, items, weights = split_csr(user_weights)
            bound = self.weights.bound_scores(user_weights) * (1 + 1e-9)  # its own rounding
        return SparseQueries(
            user_starts=starts,
            items=items,
            weights=weights,
            bound=bound,
            starts=self.starts,
            blocks=self.blocks,
            columns=self.columns,
            values=self.values,
            added_starts=starts[:0],
            added_columns=self.added_columns[:0],
            added=self.added[:0],
            target_starts=self.by_target[0],
            sources=self.by_target[1],
            source_values=self.by_target[2],
            wide_weights=self.wide_weights,
        )

    def cut_blocks(self, sparse: SparseQueries, n_users: int) -> Iterator[slice]:
        """Blocks of users: fewer than USERS_PER_BLOCK where their weights add too much to hold."""
        n_added = np.zeros(n_users + 1, np.int64)
        if self.weights is not None:
            n_added = np.concatenate([[0], np.cumsum(self.lengths[sparse.items])])
            n_added = n_added[sparse.user_starts]
        start = 0
        while start < n_users:
            fitting = np.searchsorted(n_added, n_added[start] + _MOST_ADDED, side="right") - 1
            stop = min(max(int(fitting), start + 1), start + USERS_PER_BLOCK, n_users)
            yield slice(start, stop)
            start = stop

    def take_block(self, sparse: SparseQueries, block: slice) -> SparseQueries:
        """The queries of some users, with what they add to scores."""
        starts = sparse.user_starts[block.start : block.stop + 1]
        taken = sparse._replace(user_starts=starts, bound=sparse.bound[block])
        if self.weights is None:
            return taken
        n_added = int(self.lengths[sparse.items[starts[0] : starts[-1]]].sum())
        if n_added > len(self.added):
            self.added_columns = np.empty(n_added, np.int16)
            self.added = np.empty(n_added, np.float32)
        taken = taken._replace(
            added_starts=np.empty(len(taken.bound) * (self.n_blocks + 1), np.int64),
            added_columns=self.added_columns,
            added=self.added,
        )
        group_sparse(taken, self.n_blocks)
        return taken


def choose_width(n_items: int) -> int:
    """Items in a block: the width that leaves the fewest columns of the last block empty."""
    return min(_WIDTHS, key=lambda width: (-(-n_items // width) * width, -width))


def choose_first_pass() -> type[Float32FirstPass] | type[Int16FirstPass]:
    """The fastest that this CPU can compute: each executor of a job asks its own."""
    return Int16FirstPass if has_feature(FEATURE) else Float32FirstPass
