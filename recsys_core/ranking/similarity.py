"""Neighbours of items by the cosine of their factors."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Float32Array, Int32Array, Int64Array
from recsys_core.items.directions import find_directions
from recsys_core.ranking.top_k import RankedItems, TopKScorer


def rank_similar(
    item_embeddings: Float32Array,
    k: int,
    *,
    items: Int64Array | None = None,
    among: Int32Array | None = None,
) -> RankedItems:
    """The k nearest other items of each item, by cosine, ties to the lower index.

    Args:
        item_embeddings: float32 [n_items, n_factors]. An item without direction (all zeros) has
            cosine 0 with every item.
        items: indices to answer for; all where None.
        among: indices of the items that may be named, ascending; all where None.

    Returns:
        Lists in order of ``items``; ``score`` is the cosine.
    """
    if items is None:
        items = np.arange(len(item_embeddings))
    directions = find_directions(item_embeddings)
    itself = csr_matrix(
        (np.ones(len(items)), items, np.arange(len(items) + 1)),
        shape=(len(items), len(item_embeddings)),
    )
    if among is None:
        return TopKScorer(directions, k).rank(directions[items], itself)
    ranked = TopKScorer(directions[among], k).rank(directions[items], itself[:, among])
    return replace(ranked, item_index=among[ranked.item_index])
