"""The order of every list, stated once: the higher score first, ties to the lower item index."""

import numpy as np

from recsys_core.arrays import BoolArray, Float32Array, FloatArray, Int32Array, Int64Array, IntArray
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
