"""The loops of the 16-bit product: score blocks of users and items, collect candidates.

Rows come quantized, see ``quantization``; their products are exact in 32 bits.
"""

from recsys_core.arrays import Float32Array, Float64Array
from recsys_core.compile.int16_tile import TILE_USERS, multiply_tile
from recsys_core.compile.jit import compiled
from recsys_core.compile.score_masks import LANES
from recsys_core.ranking.quantization import Quantized
from recsys_core.ranking.top_k_kernels import (
    QueryBlock,
    SeenItems,
    add_sparse,
    collect,
    is_open,
    mask_absent,
    mask_seen,
)

USERS_AT_ONCE = 8 * TILE_USERS
"""Users whose scores are collected together: with a block of items, 75 to 125 KB, for a cache."""


@compiled
def collect_from_all(
    block: QueryBlock,
    users: Quantized,
    items: Quantized,
    largest: Float64Array,
    seen: SeenItems,
    scores: Float32Array,
) -> None:
    """Find each user's candidates among all items.

    Args:
        users: in groups of TILE_USERS, at least those of ``block``.
        items: in groups of LANES.
        largest: [n_blocks]: bound on the norms of each block of items and of those after it.
        scores: scratch [USERS_AT_ONCE * width]; width is a multiple of LANES.
    """
    n_users, n_items, width = len(block.n_found), len(block.item_at), len(scores) // USERS_AT_ONCE
    entry = 0
    for item_block in range(len(largest)):
        first_item, any_open = item_block * width, False
        for first_user in range(0, n_users, USERS_AT_ONCE):
            end_user = min(first_user + USERS_AT_ONCE, n_users)
            first_entry = entry
            while entry < seen.ends[item_block] and seen.row[entry] < end_user:
                entry += 1
            if not is_open(block, first_user, end_user, largest[item_block]):
                continue
            any_open = True
            multiply(users, first_user, end_user, items, first_item, width, scores)
            add_sparse(block.sparse, scores, width, item_block, len(largest), first_user, end_user)
            mask_absent(scores, width, n_items - first_item)
            mask_seen(scores, width, seen, first_entry, entry, first_user)
            collect(block, scores, width, first_item, largest[item_block], first_user, end_user)
        if not any_open:
            break


@compiled
def multiply(
    users: Quantized,
    first_user: int,
    end_user: int,
    items: Quantized,
    first_item: int,
    width: int,
    scores: Float32Array,
) -> None:
    """Fill a block of scores for some users and the ``width`` items from ``first_item`` on.

    Args:
        first_user, first_item: rows that begin a group.
        scores: [>= n_users, to a whole group, * width]; columns beyond the last group of items are
            left alone.
    """
    for column in range(0, min(width, len(items.scale) - first_item), LANES):
        for user in range(first_user, end_user, TILE_USERS):
            at = (user - first_user) * width + column
            multiply_tile(users, user, items, first_item + column, scores, at, width)
