"""Ranking by a whole model, whatever parts it has."""

import numpy as np

from recsys_core.arrays import Float64Array, Int32Array, Int64Array
from recsys_core.model_form.item_model import FoldedUsers, ItemParts
from recsys_core.ranking.sparse_top_k import SparseTopKScorer
from recsys_core.ranking.top_k import RankedItems, TopKScorer
from recsys_core.ranking.top_k_kernels import score_items


class ModelScorer:
    """The k best unseen items of users, by the parts of a model.

    Not thread-safe. A list depends on its own user alone. A place is that of an item among those
    that lists may hold.
    """

    def __init__(self, model: ItemParts, k: int, *, allowed: Int32Array | None = None) -> None:
        """Arrange the items for scoring.

        Args:
            k: length of the lists, at least 1.
            allowed: indices of the items that lists may hold, ascending; all where None.

        Raises:
            ValueError: as ``TopKScorer``; no item is allowed.
        """
        self._factors, self._weights = model.item_factors, model.item_weights
        self.n_items = len(self._factors)
        self.items = np.arange(self.n_items, dtype=np.int32) if allowed is None else allowed
        self._is_partial = allowed is not None
        if allowed is not None:
            self._factors = self._factors[allowed]
            self._weights = self._weights and self._weights.keep_targets(allowed)
        self._sparse: SparseTopKScorer | None = None
        self._dense: TopKScorer | None = None
        if self._weights is not None and self._factors.shape[1] == 0:
            self._sparse = SparseTopKScorer(self._weights, k)
        else:
            self._dense = TopKScorer(self._factors, k, weights=self._weights)

    def rank(self, users: FoldedUsers) -> RankedItems:
        """The k best unseen items of each user, all where there are fewer.

        Raises:
            ValueError: as ``TopKScorer.rank``.
        """
        ranked = self.rank_places(self.keep_allowed(users))
        return RankedItems(ranked.counts, self.items[ranked.item_index], ranked.score)

    def keep_allowed(self, users: FoldedUsers) -> FoldedUsers:
        """The users, of what they have seen only the items that lists may hold, by their places."""
        if not self._is_partial:
            return users
        return FoldedUsers(users.factors, users.seen[:, self.items], users.weights)

    def rank_places(self, users: FoldedUsers) -> RankedItems:
        """As ``rank`` of users from ``keep_allowed``, with places for item indices."""
        if self._sparse is not None:
            return self._sparse.rank(users.weights, users.seen)
        assert self._dense is not None
        return self._dense.rank(users.factors, users.seen, users.weights)

    def score_places(self, user: FoldedUsers, places: Int64Array) -> Float64Array:
        """The scores [n] of some places for one user, before lists round them."""
        if self._sparse is not None:
            return self._sparse.score_items(user.weights, places)
        scores = score_items(self._factors, places, user.factors[0].astype(np.float64))
        if self._weights is not None and user.weights is not None:
            scores += self._weights.by_target[places] @ user.weights.toarray()[0].astype(np.float64)
        return scores
