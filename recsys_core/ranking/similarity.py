"""Neighbours of items: by their weights in a model's sparse part, or the cosine of factors."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import Float32Array, Int32Array, Int64Array
from recsys_core.items.directions import find_directions
from recsys_core.model_form.item_model import ItemModel
from recsys_core.ranking.top_k import RankedItems, TopKScorer, number_within


def rank_neighbours(
    model: ItemModel,
    k: int,
    *,
    items: Int64Array | None = None,
    among: Int32Array | None = None,
) -> RankedItems:
    """The k nearest other items of each item, ties to the lower index.

    With a sparse part these are the items with the largest weights S_ij above 0 in the score of
    item j, which are the score; there may be fewer than k. Else as ``rank_similar``.

    Args:
        items, among: as in ``rank_similar``.
    """
    weights = model.item_weights
    if weights is None:
        return rank_similar(model.item_embeddings, k, items=items, among=among)
    if items is None:
        items = np.arange(model.n_items)
    found = weights.by_target[items].tocoo()
    kept = found.data > 0
    if among is not None:
        kept &= np.isin(found.col, among)
    row, column, weight = found.row[kept], found.col[kept], found.data[kept]
    order = np.lexsort((column, -weight, row))
    row, column, weight = row[order], column[order], weight[order]
    listed = number_within(np.bincount(row, minlength=len(items))) <= k
    counts = np.bincount(row[listed], minlength=len(items)).astype(np.int64)
    return RankedItems(counts, column[listed].astype(np.int32), weight[listed])


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
