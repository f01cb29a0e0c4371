"""The order of every list, stated once: the higher score first, ties to the lower item index."""

import numpy as np

from recsys_core.arrays import (
    BoolArray,
    Float32Array,
    Float64Array,
    FloatArray,
    Int32Array,
    Int64Array,
    IntArray,
)
from recsys_core.compile.jit import compiled


@compiled
def comes_before(score: float, item: int, other_score: float, other_item: int) -> bool:
    """Whether an item stands before another in a list."""
    return score > other_score or (score == other_score and item < other_item)


def order_by_score(scores: FloatArray | IntArray) -> Int64Array:
    """Places of ``scores`` in the order of a list.

    Args:
        scores: [n], of items in ascending order of their index.
    """
    return np.argsort(-scores, kind="stable")


@compiled
def keep_best(scores: Float64Array, items: Int32Array, n: int, score: float, item: int) -> int:
    """Offer an item to a heap of the best so far, the last of which is at the root; its size.

    Args:
        scores, items: [capacity], of which the first n are the heap.
    """
    if n < len(scores):
        at = n
        while at > 0:
            above = (at - 1) // 2
            if comes_before(score, item, scores[above], items[above]):
                break
            scores[at], items[at] = scores[above], items[above]
            at = above
        scores[at], items[at] = score, item
        return n + 1
    if comes_before(score, item, scores[0], items[0]):
        _sink(scores, items, n, score, item)
    return n


@compiled
def _sink(scores: Float64Array, items: Int32Array, n: int, score: float, item: int) -> None:
    """Put an item in the place of a heap's root, and restore the heap."""
    at = 0
    while 2 * at + 1 < n:
        below = 2 * at + 1
        if below + 1 < n and comes_before(
            scores[below], items[below], scores[below + 1], items[below + 1]
        ):
            below += 1  # the one that comes last of the two
        if comes_before(scores[below], items[below], score, item):
            break
        scores[at], items[at] = scores[below], items[below]
        at = below
    scores[at], items[at] = score, item


@compiled
def sort_best(scores: Float64Array, items: Int32Array, n: int) -> None:
    """Bring a heap of ``keep_best`` into the order of a list."""
    for last in range(n - 1, 0, -1):
        score, item = scores[last], items[last]
        scores[last], items[last] = scores[0], items[0]
        _sink(scores, items, last, score, item)


@compiled
def take_lowest_unseen(
    seen: Int32Array, is_seen: BoolArray, item_index: Int32Array, score: Float32Array
) -> int:
    """Fill the list of a user for whom all items tie at zero; its length.

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
