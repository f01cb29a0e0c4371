"""The inner loops of ``top_k``: find candidates in a block of scores, and rank them exactly.

Each user has a row of ``rough`` float32 scores and ``position``s of the items that may be in the
list. The row is filled until it is full, and then cut back to what can still be among the k best.
Unused entries of ``rough`` are -inf, so that whole groups of LANES can be compared.
"""

from typing import Any

import numpy as np

from recsys_core.arrays import (
    Float32,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
)
from recsys_core.compiled import LANES, compiled, compiled_sum, count_bits, lowest_bit, reaching

_GAPS = (3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1)
"""Steps of Shell's sort: Ciura, FCT 2001, then by a factor of 2.25."""


@compiled
def group_seen(
    indptr: Int64Array,
    items: Int32Array,
    block_of: Int32Array,
    column_of: Int32Array,
    row: Int32Array,
    column: Int32Array,
    ends: Int64Array,
) -> None:
    """Sort the seen items of some users by the block of items they stand in.

    Args:
        indptr: [n_users + 1] into ``items``; need not begin at 0.
        block_of, column_of: [n_items] where each item stands.
        row, column: filled with the user and the place within the block of each entry.
        ends: [n_blocks]; filled with the end of each block's entries.
    """
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
def mask_seen(scores: Float32Array, row: Int32Array, column: Int32Array) -> None:
    """Put -inf where a user has seen the item."""
    for entry in range(len(row)):
        scores[row[entry], column[entry]] = -np.inf


@compiled
def collect(
    scores: Float32Array,
    first_position: int,
    largest: float,
    k: int,
    norm: Float64Array,
    slack: Float64Array,
    threshold: Float32Array,
    users: Float32Array,
    factors: Float32Array,
    item_at: Int32Array,
    count: Int64Array,
    rough: Float32Array,
    position: Int32Array,
    work: Float64Array,
) -> int:
    """Add to each user's candidates the scores of one block that reach the user's threshold.

    Args:
        scores: [>= n_users, width] of the items from ``first_position``; width is a multiple of
            LANES.
        largest: norm of the block's first item, which no other exceeds.
        norm: [n_users] of the users' factors.
        slack: [n_users]; twice the bound on a rough score's error.
        threshold: [n_users]; raised in place as better items are found.
        count, rough, position: the candidates, changed in place.
        work: [capacity] scratch.

    Returns:
        How many users could have found something: at 0, no further block need be looked at.
    """
    capacity = rough.shape[1]
    n_open = 0
    for user in range(len(count)):
        limit = threshold[user]
        if norm[user] * largest < limit:
            continue
        n_open += 1
        n = count[user]
        row, found, places = scores[user], rough[user], position[user]
        if first_position == 0 and k <= LANES // 2:
            limit = _first_limit(row, k, slack[user], limit)
        for start in range(0, scores.shape[1], LANES):
            bits = reaching(row, start, limit)
            while bits != np.uint64(0):
                column = start + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                found[n] = row[column]
                places[n] = first_position + column
                n += 1
                if n == capacity:
                    n, limit = _cut_back(
                        found, places, n, k, slack[user], limit, users[user], factors, item_at, work
                    )
        count[user] = n
        threshold[user] = limit
    return n_open


@compiled
def _first_limit(scores: Float32Array, k: int, slack: float, limit: Float32) -> Float32:
    """A lower bound on the k-th best score of a block, for k of at most LANES.

    The k-th largest of the maxima of LANES groups is no larger than the k-th largest of all.
    """
    maxima = scores[:LANES].copy()
    for start in range(LANES, len(scores), LANES):
        group = scores[start : start + LANES]
        for lane in range(LANES):
            maxima[lane] = group[lane] if group[lane] > maxima[lane] else maxima[lane]
    return max(limit, np.float32(kth_largest(maxima, k, limit, k) - slack))


@compiled
def _cut_back(
    rough: Float32Array,
    position: Int32Array,
    n: int,
    k: int,
    slack: float,
    limit: Float32,
    user: Float32Array,
    factors: Float32Array,
    item_at: Int32Array,
    work: Float64Array,
) -> tuple[int, Float32]:
    """Keep what can be among the k best; the number kept and the new threshold."""
    limit = max(limit, np.float32(kth_largest(rough, k, limit, k + k // 4) - slack))
    n = _keep_reaching(rough, position, n, limit)
    if 4 * n > 3 * len(rough):  # near ties, which only the exact scores can part
        rank_exactly(user, factors, item_at, position, n, work)
        for place in range(k):
            rough[place] = np.float32(work[place])
        rough[k:n] = -np.inf
        limit = max(limit, np.float32(rough[k - 1] - slack))
        n = k
    return n, limit


@compiled
def kth_largest(scores: Float32Array, k: int, low: Float32, enough: int) -> Float32:
    """The largest number that at least k of ``scores`` reach, or one that at most ``enough`` do.

    By bisection over the float32 numbers in their order: counting is a vector operation, and
    partitioning is not.

    Args:
        scores: a multiple of LANES entries.
        low: returned where fewer than k entries reach it.
    """
    below, above = _to_key(low), _to_key(np.float32(np.finfo(np.float32).max))
    while above - below > 1:
        middle = (below + above) // 2
        threshold = _from_key(middle)
        reached = 0
        for start in range(0, len(scores), LANES):
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
def _keep_reaching(rough: Float32Array, position: Int32Array, n: int, limit: Float32) -> int:
    """Move the candidates that reach ``limit`` to the front; their number."""
    kept = 0
    for start in range(0, n, LANES):
        bits = reaching(rough, start, limit)
        while bits != np.uint64(0):
            place = start + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            rough[kept], position[kept] = rough[place], position[place]
            kept += 1
    rough[kept:n] = -np.inf
    return kept


@compiled
def rank_exactly(
    user: Float32Array,
    factors: Float32Array,
    item_at: Int32Array,
    position: Int32Array,
    n: int,
    score: Float64Array,
) -> None:
    """Sort the first n candidates by float64 score, then item index; fill their ``score``."""
    wide = user.astype(np.float64)
    for place in range(n):
        score[place] = inner_product(wide, factors[position[place]])
    for gap in _GAPS:
        for place in range(gap, n):
            held, held_position = score[place], position[place]
            at = place
            while at >= gap and (
                score[at - gap] < held
                or (
                    score[at - gap] == held and item_at[position[at - gap]] > item_at[held_position]
                )
            ):
                score[at], position[at] = score[at - gap], position[at - gap]
                at -= gap
            score[at], position[at] = held, held_position


@compiled_sum
def inner_product(left: Float64Array, right: Float32Array) -> float:
    """In float64, of vectors of one length."""
    total = 0.0
    for column in range(len(left)):
        total += left[column] * np.float64(right[column])
    return total


@compiled
def finish(
    k: int,
    slack: Float64Array,
    threshold: Float32Array,
    users: Float32Array,
    factors: Float32Array,
    item_at: Int32Array,
    count: Int64Array,
    rough: Float32Array,
    position: Int32Array,
    work: Float64Array,
    item_index: Int32Array,
    score: Float32Array,
) -> None:
    """Turn each user's candidates into the list.

    Args:
        count: [n_users] candidates; becomes the length of each list.
        item_index, score: [n_users, k]; filled from the left.
    """
    for user in range(len(count)):
        n = count[user]
        if n > k:
            limit = np.float32(kth_largest(rough[user], k, threshold[user], k) - slack[user])
            n = _keep_reaching(rough[user], position[user], n, limit)
        rank_exactly(users[user], factors, item_at, position[user], n, work)
        count[user] = min(n, k)
        for place in range(count[user]):
            item_index[user, place] = item_at[position[user, place]]
            score[user, place] = np.float32(work[place])


@compiled
def take_lowest_unseen(
    seen: Int32Array, is_seen: np.ndarray, item_index: Int32Array, score: Float32Array
) -> int:
    """Fill a list with the unseen items of lowest index, all scored zero; its length.

    Args:
        is_seen: bool [n_items], all False; left as it was.
        item_index, score: [k].
    """
    for item in seen:
        is_seen[item] = True
    n = 0
    for item in range(len(is_seen)):
        if n == len(item_index):
            break
        if not is_seen[item]:
            item_index[n] = item
            score[n] = 0.0
            n += 1
    for item in seen:
        is_seen[item] = False
    return n
