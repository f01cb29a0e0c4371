"""The inner loops of ``top_k``: find candidates in a block of scores, and rank them exactly.

Each user has a row of rough scores and positions of the items that may be in the list, the
candidates. The row is filled until it is full, and then pruned to those that can still be among the
k best. Unused entries of rough scores are -inf, so that whole groups of LANES can be compared.
"""

from typing import Any, NamedTuple

import numpy as np

from recsys_core.arrays import (
    Float32,
    Float32Array,
    Float64Array,
    Int16Array,
    Int32Array,
    Int64Array,
)
from recsys_core.compile.jit import compiled, compiled_sum
from recsys_core.compile.score_masks import LANES, count_bits, lowest_bit, raise_to, reaching
from recsys_core.ranking.exact_order import comes_before

_GAPS = (3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1)
"""Steps of Shell's sort: Ciura, FCT 2001, then by a factor of 2.25."""


class SparseQueries(NamedTuple):
    """The sparse part x~ S of the scores of a block of users; without entries where there is none.

    What each weight adds is written down once, by block of items: to walk all rows of S in each
    block would have to fetch them from memory as often.
    """

    user_starts: Int64Array  # [n_users + 1]: where each user's weights begin
    items: Int32Array  # of the users' weights, ascending in each user
    weights: Float32Array  # x~
    bound: Float64Array  # [n_users]: no score of the sparse part is larger
    starts: Int64Array  # [n_items + 1]: rows of S
    blocks: Int32Array  # of the targets in S
    columns: Int16Array  # places of the targets within their blocks
    values: Float32Array
    added_starts: Int64Array  # [n_users * (n_blocks + 1)]: where what is added in a block begins
    added_columns: Int16Array
    added: Float32Array
    target_starts: Int64Array  # [n_positions + 1]: rows of S'
    sources: Int32Array  # items, ascending in each row
    source_values: Float32Array
    wide_weights: Float64Array  # [n_items] scratch, zeros: one user's weights


class QueryBlock(NamedTuple):
    """A block of users, the items, and the candidates found so far. A position is an item's place.

    Items stand in descending order of their norms; rough scores are those of the first pass.
    """

    k: int
    queries: Float32Array  # [>= n_users, n_columns]: the users' factors
    factors: Float32Array  # [n_items, n_columns] of the items, by position
    item_at: Int32Array  # [n_items]: position -> item_index
    norm: Float64Array  # [n_users] of the queries
    error_margin: Float64Array  # [n_users]: twice the bound on a rough score's error
    threshold: Float32Array  # [n_users]: below it nothing is a candidate; rises
    n_found: Int64Array  # [n_users] candidates so far; in the end the length of each list
    capacity: int  # candidates that a user may have, a multiple of LANES
    rough_score: Float32Array  # [>= n_users * capacity] of the candidates
    position: Int32Array  # [>= n_users * capacity] of the candidates
    exact_score: Float64Array  # [capacity] scratch: scores of one user's candidates
    wide_query: Float64Array  # [n_columns] scratch: one user's factors
    n_false_candidates: Int64Array  # [1]: items scored exactly only to be below the k best
    sparse: SparseQueries


class SeenItems(NamedTuple):
    """What some users have seen: sorted by block of items, then by user."""

    row: Int32Array  # [n_seen]: the user
    column: Int32Array  # [n_seen]: the item's place within its block
    ends: Int64Array  # [n_blocks]: where each block's entries end


@compiled
def group_seen(
    indptr: Int64Array,
    items: Int32Array,
    block_of: Int32Array,
    column_of: Int32Array,
    seen: SeenItems,
) -> None:
    """Sort the seen items of some users into ``seen``, by the block of items they stand in.

    Args:
        indptr: [n_users + 1] into ``items``; need not begin at 0.
        block_of, column_of: [n_items] where each item stands.
    """
    row, column, ends = seen
    ends[:] = 0
    for entry in range(indptr[0], indptr[-1]):
        ends[block_of[items[entry]]] += 1
    total = 0
    for block in range(len(ends)):  # from counts to starts; filling then moves starts to ends
        total += ends[block]
        ends[block] = total - ends[block]
    for user in range(len(indptr) - 1):
        for entry in range(indptr[user], indptr[user + 1]):
            item = items[entry]
            place = ends[block_of[item]]
            row[place], column[place] = user, column_of[item]
            ends[block_of[item]] = place + 1


@compiled
def mask_seen(
    scores: Float32Array, width: int, seen: SeenItems, first: int, end: int, first_user: int
) -> None:
    """Put -inf where the entries from ``first`` to ``end`` say that a user has seen the item.

    Args:
        scores: [>= n_users * width] of users from ``first_user`` and of these entries' block.
    """
    for entry in range(first, end):
        scores[(seen.row[entry] - first_user) * width + seen.column[entry]] = -np.inf


@compiled
def mask_absent(scores: Float32Array, width: int, n_columns: int) -> None:
    """Put -inf into the columns of a block of scores where there are no items any more."""
    for row in range(0, len(scores), width):
        for column in range(n_columns, width):
            scores[row + column] = -np.inf


@compiled
def is_open(block: QueryBlock, first_user: int, end_user: int, largest: float) -> bool:
    """Whether an item of the norm ``largest`` may reach the threshold of one of the users."""
    bound = block.sparse.bound
    for user in range(first_user, end_user):
        if block.norm[user] * largest + bound[user] >= block.threshold[user]:
            return True
    return False


@compiled
def group_sparse(sparse: SparseQueries, n_blocks: int) -> None:
    """Write down what the weights add to the users' scores, by user and block of items."""
    end = 0
    for user in range(len(sparse.bound)):
        first = user * (n_blocks + 1)
        starts = sparse.added_starts[first : first + n_blocks + 1]
        starts[:] = 0
        for entry in range(sparse.user_starts[user], sparse.user_starts[user + 1]):
            for place in _row_of(sparse, sparse.items[entry]):
                starts[np.uintp(sparse.blocks[place] + 1)] += 1
        starts[0] = end
        for block in range(n_blocks):
            starts[block + 1] += starts[block]
        end = starts[n_blocks]
        for block in range(n_blocks, 0, -1):  # filling then moves starts to ends
            starts[block] = starts[block - 1]
        for entry in range(sparse.user_starts[user], sparse.user_starts[user + 1]):
            weight = sparse.weights[entry]
            for place in _row_of(sparse, sparse.items[entry]):
                own = np.uintp(sparse.blocks[place] + 1)
                at = np.uintp(starts[own])
                starts[own] += 1
                sparse.added_columns[at] = sparse.columns[place]
                sparse.added[at] = weight * sparse.values[place]


@compiled
def _row_of(sparse: SparseQueries, item: int) -> Any:
    """The places of an item's weights. Unsigned: numba asks of no such index if it is negative."""
    return range(np.uintp(sparse.starts[item]), np.uintp(sparse.starts[item + 1]))


@compiled
def add_sparse(
    sparse: SparseQueries,
    scores: Float32Array,
    width: int,
    block: int,
    n_blocks: int,
    first_user: int,
    end_user: int,
) -> None:
    """Add the sparse part to the rough scores of some users in one block of items.

    Args:
        scores: [>= n_users * width] of the users from ``first_user``.
    """
    if len(sparse.added) == 0:
        return
    for user in range(first_user, end_user):
        row, first = np.uintp((user - first_user) * width), user * (n_blocks + 1) + block
        start, stop = sparse.added_starts[first], sparse.added_starts[first + 1]
        for at in range(np.uintp(start), np.uintp(stop)):
            scores[row + np.uintp(sparse.added_columns[at])] += sparse.added[at]


@compiled
def collect(
    block: QueryBlock,
    scores: Float32Array,
    width: int,
    first_position: int,
    largest: float,
    first_user: int,
    end_user: int,
) -> int:
    """Add to each user's candidates the scores of some items that reach the user's threshold.

    Args:
        scores: [>= n_users * width] of the users from ``first_user`` and of the items from
            ``first_position``, row by row; width is a multiple of LANES.
        largest: norm of the first of these items, which no other exceeds.

    Returns:
        How many users could have found something: at 0, no further items need be looked at.
    """
    n_open = 0
    for user in range(first_user, end_user):
        if not is_open(block, user, user + 1, largest):
            continue
        n_open += 1
        threshold = block.threshold[user]
        row, first = (user - first_user) * width, user * block.capacity
        n = first + block.n_found[user]
        if first_position == 0 and block.k <= LANES // 2:
            threshold = _first_threshold(
                scores, row, width, block.k, block.error_margin[user], threshold
            )
        for start in range(row, row + width, LANES):
            bits = reaching(scores, start, threshold)
            while bits != np.uint64(0):
                at = start + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                block.rough_score[n] = scores[at]
                block.position[n] = first_position + at - row
                n += 1
                if n == first + block.capacity:
                    kept, threshold = _prune(block, user, threshold)
                    n = first + kept
        block.n_found[user] = n - first
        block.threshold[user] = threshold
    return n_open


@compiled
def _first_threshold(
    scores: Float32Array, first: int, width: int, k: int, error_margin: float, threshold: Float32
) -> Float32:
    """A lower bound on the k-th best of a row of scores, for k of at most LANES.

    The k-th largest of the maxima of LANES groups is no larger than the k-th largest of all.
    """
    maxima = np.full(LANES, np.float32(-np.inf))
    for start in range(first, first + width, LANES):
        raise_to(maxima, 0, scores, start)
    return max(threshold, np.float32(kth_largest(maxima, 0, LANES, k, threshold, k) - error_margin))


@compiled
def _prune(block: QueryBlock, user: int, threshold: Float32) -> tuple[int, Float32]:
    """Keep what can be among the k best; the number kept and the new threshold."""
    k, first = block.k, user * block.capacity
    kth = kth_largest(block.rough_score, first, block.capacity, k, threshold, k + k // 4)
    threshold = max(threshold, np.float32(kth - block.error_margin[user]))
    n = _keep_reaching(block, user, threshold)
    if 4 * n > 3 * block.capacity:  # near ties, which only the exact scores can part
        _rank_exactly(block, user, n)
        for place in range(n):
            exact = np.float32(block.exact_score[place])
            block.rough_score[first + place] = exact if place < k else np.float32(-np.inf)
        kth = block.rough_score[first + k - 1]
        threshold = max(threshold, np.float32(kth - block.error_margin[user]))
        n = k
    return n, threshold


@compiled
def kth_largest(
    scores: Float32Array, first: int, length: int, k: int, low: Float32, enough: int
) -> Float32:
    """The largest number that at least k of ``scores`` reach, or one that at most ``enough`` do.

    By bisection over the float32 numbers in their order: counting is a vector operation, and
    partitioning is not.

    Args:
        scores: of which entries from ``first`` count, ``length`` of them, a multiple of LANES.
        low: returned where fewer than k entries reach it.
    """
    below, above = _to_key(low), _to_key(np.float32(np.finfo(np.float32).max))
    while above - below > 1:
        middle = (below + above) // 2
        threshold = _from_key(middle)
        reached = 0
        for start in range(first, first + length, LANES):
            reached += count_bits(reaching(scores, start, threshold))
        if reached < k:
            above = middle
        else:
            below = middle
            if reached <= enough:
                break
    return _from_key(below)


@compiled
def _to_key(number: Float32) -> Any:
    """An integer for a float32, in the same order."""
    bits = np.int64(np.float32(number).view(np.int32))
    return bits if bits >= 0 else bits ^ 0x7FFFFFFF


@compiled
def _from_key(key: Any) -> Float32:
    bits = key if key >= 0 else key ^ 0x7FFFFFFF
    return np.int32(bits).view(np.float32)


@compiled
def _keep_reaching(block: QueryBlock, user: int, threshold: Float32) -> int:
    """Move the candidates that reach ``threshold`` to the front; their number."""
    first = user * block.capacity
    kept = first
    for start in range(first, first + block.capacity, LANES):
        bits = reaching(block.rough_score, start, threshold)
        while bits != np.uint64(0):
            place = start + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            block.rough_score[kept] = block.rough_score[place]
            block.position[kept] = block.position[place]
            kept += 1
    for place in range(kept, first + block.capacity):
        block.rough_score[place] = -np.inf
    return kept - first


@compiled
def _rank_exactly(block: QueryBlock, user: int, n: int) -> None:
    """Put the first n candidates in the order of a list; ``exact_score`` then holds their scores.

    By Shell's sort, in place: there are few.
    """
    score, position, first = block.exact_score, block.position, user * block.capacity
    item_at = block.item_at
    sparse = block.sparse
    for column in range(len(block.wide_query)):
        block.wide_query[column] = block.queries[user, column]
    for entry in range(sparse.user_starts[user], sparse.user_starts[user + 1]):
        sparse.wide_weights[sparse.items[entry]] = sparse.weights[entry]
    for place in range(n):
        at = position[first + place]
        score[place] = _inner_product(block.wide_query, block.factors, at)
        score[place] += _sum_sparse(sparse, at)
    for entry in range(sparse.user_starts[user], sparse.user_starts[user + 1]):
        sparse.wide_weights[sparse.items[entry]] = 0.0
    for gap in _GAPS:
        for place in range(gap, n):
            held, held_position = score[place], position[first + place]
            held_item, at = item_at[held_position], place
            while at >= gap and comes_before(
                held, held_item, score[at - gap], item_at[position[first + at - gap]]
            ):
                score[at], position[first + at] = score[at - gap], position[first + at - gap]
                at -= gap
            score[at], position[first + at] = held, held_position
    for place in range(block.k, n):
        block.n_false_candidates[0] += score[place] < score[block.k - 1]


@compiled_sum
def _inner_product(wide: Float64Array, factors: Float32Array, row: int) -> float:
    total = 0.0
    for column in range(len(wide)):
        total += wide[column] * np.float64(factors[row, column])
    return total


@compiled
def score_items(factors: Float32Array, items: Int64Array, user: Float64Array) -> Float64Array:
    """Inner products of some rows of ``factors`` [n_items, n_columns] with ``user`` [n_columns]."""
    scores = np.empty(len(items))
    for place in range(len(items)):
        scores[place] = _inner_product(user, factors, items[place])
    return scores


@compiled
def _sum_sparse(sparse: SparseQueries, position: int) -> float:
    """The sparse part of one score: in order of the items that add to it, whoever asks."""
    total = 0.0
    for place in range(sparse.target_starts[position], sparse.target_starts[position + 1]):
        weight = sparse.wide_weights[sparse.sources[place]]
        total += weight * np.float64(sparse.source_values[place])
    return total


@compiled
def finish(block: QueryBlock, item_index: Int32Array, score: Float32Array) -> None:
    """Turn each user's candidates into the list.

    Args:
        item_index, score: [n_users, k]; filled from the left.
    """
    for user in range(len(block.n_found)):
        n, first, k = block.n_found[user], user * block.capacity, block.k
        if n > k:
            kth = kth_largest(block.rough_score, first, block.capacity, k, block.threshold[user], k)
            n = _keep_reaching(block, user, np.float32(kth - block.error_margin[user]))
        _rank_exactly(block, user, n)
        block.n_found[user] = min(n, k)
        for place in range(min(n, k)):
            item_index[user, place] = block.item_at[block.position[first + place]]
            score[user, place] = np.float32(block.exact_score[place])
