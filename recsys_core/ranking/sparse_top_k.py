"""Exact top-k of a sparse part alone, x~ S, without the items each user has seen.

What it costs depends on the ratings of the user and on the weights of each, not on the number of
items: sums are kept of the items that a weight reaches, and of no others. Order, ties and sums are
those of ``top_k``.

An item that no weight of the user reaches comes after all that one does, and only where these do
not fill the list. Its score is

    n / (1 + largest n) - 1 - sum over the user's weights |x~_i| max_j |S_ij|

with n its ratings: below any score there can be, and higher the more popular the item is.
"""

from typing import NamedTuple

import numpy as np

from recsys_core.arrays import (
    Csr,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
)
from recsys_core.compile.jit import compiled
from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.ranking.exact_order import keep_best, order_by_score, sort_best
from recsys_core.ranking.top_k import RankedItems
from recsys_core.sparse import split_csr, split_pattern

_UNREACHED = -0.0
"""A sum that nothing was added to. No other is -0.0: products of numbers other than zero are not
zero in float64, and where they cancel the sum is 0.0."""


class _SparseItems(NamedTuple):
    """S, and what of its targets no user has a bearing on."""

    starts: Int64Array  # [n_items + 1]
    targets: Int32Array
    values: Float32Array
    popularity: Float32Array  # [n_targets]
    by_popularity: Int32Array  # [n_targets]: the most popular first


class _Users(NamedTuple):
    """Users' weights, and what they have seen of the targets."""

    starts: Int64Array  # [n_users + 1]
    items: Int32Array
    weights: Float32Array
    bounds: Float64Array  # [n_users]: no score is larger, nor any but those of unreached smaller
    seen_starts: Int64Array  # [n_users + 1]
    seen: Int32Array


class _Sums(NamedTuple):
    """Scratch for one user."""

    sums: Float64Array  # [n_targets]: all _UNREACHED between users
    reached: Int32Array  # [n_targets + 1]
    best: Float64Array  # [k]
    best_items: Int32Array  # [k]


class SparseTopKScorer:
    """Scores users one by one; holds its buffers between calls.

    Not thread-safe. A list depends on its own user's weights and seen items alone.
    """

    def __init__(self, weights: ItemWeights, k: int) -> None:
        """Make the buffers.

        Args:
            k: length of the lists, at least 1.

        Raises:
            ValueError: k < 1, or no items.
        """
        self.n_items = len(weights.popularity)
        if self.n_items == 0:
            raise ValueError("there are no items to rank")
        if k < 1:
            raise ValueError(f"k = {k}, must be at least 1")
        self.k = min(k, self.n_items)
        order = order_by_score(weights.popularity).astype(np.int32)
        self._weights = weights
        self._items = _SparseItems(*split_csr(weights.matrix), weights.popularity, order)
        self._sums = _Sums(
            np.full(self.n_items, _UNREACHED),
            np.empty(self.n_items + 1, dtype=np.int32),
            np.empty(self.k),
            np.empty(self.k, dtype=np.int32),
        )

    def rank(self, user_weights: Csr, seen: Csr) -> RankedItems:
        """The k best unseen items of each user.

        Args:
            user_weights: ``ItemWeights.weigh`` of the users' ratings, finite.
            seen: CSR [n_users, n_targets]; its stored entries, zeros included, are left out.

        Raises:
            ValueError: weights that are not finite, or so large that scores overflow.
        """
        users = self._take_users(user_weights, seen)
        n_users = len(users.bounds)
        counts = np.zeros(n_users, dtype=np.int64)
        item_index = np.empty((n_users, self.k), dtype=np.int32)
        score = np.empty((n_users, self.k), dtype=np.float32)
        _rank_users(self._items, users, self._sums, counts, item_index, score)
        listed = np.arange(self.k) < counts[:, None]
        return RankedItems(counts, item_index[listed], score[listed])

    def score_items(self, user_weights: Csr, items: Int64Array) -> Float64Array:
        """The scores [n] of some targets for one user, whose weights are the only row."""
        nothing = np.zeros(2, np.int64), np.zeros(0, np.int32)
        users = _Users(*split_csr(user_weights), self._weights.bound_scores(user_weights), *nothing)
        scores = np.empty(len(items))
        _score_items(self._items, users, self._sums, items, scores)
        return scores

    def _take_users(self, user_weights: Csr, seen: Csr) -> _Users:
        bounds = self._weights.bound_scores(user_weights)
        if not bounds.max(initial=0.0) < np.finfo(np.float32).max / 4:
            raise ValueError("user_weights must be finite and their scores within float32")
        return _Users(*split_csr(user_weights), bounds, *split_pattern(seen))


@compiled
def _rank_users(
    items: _SparseItems,
    users: _Users,
    scratch: _Sums,
    counts: Int64Array,
    item_index: Int32Array,
    score: Float32Array,
) -> None:
    """Fill the lists.

    Args:
        counts, item_index, score: [n_users], [n_users, k] twice; filled from the left.
    """
    sums, reached, best, best_items = scratch
    k = len(best)
    for user in range(len(counts)):
        seen = users.seen[users.seen_starts[user] : users.seen_starts[user + 1]]
        for item in seen:
            sums[item] = -np.inf  # and is no more taken for unreached
        n_reached, n = _add_weights(items, users, user, sums, reached), 0
        lowest = -np.inf
        for item in reached[:n_reached]:
            if n < k or sums[item] >= lowest:
                n = keep_best(best, best_items, n, sums[item], item)
                lowest = best[0]
        sort_best(best, best_items, n)
        if n < k:
            for item in items.by_popularity:
                if n == k:
                    break
                if _is_unreached(sums[item]):
                    best[n] = _score_unreached(items, users, user, item)
                    best_items[n] = item
                    n += 1
        for place in range(n):
            item_index[user, place] = best_items[place]
            score[user, place] = np.float32(best[place])
        counts[user] = n
        _forget(sums, reached[:n_reached])
        _forget(sums, seen)


@compiled
def _score_items(
    items: _SparseItems, users: _Users, scratch: _Sums, wanted: Int64Array, scores: Float64Array
) -> None:
    """Fill ``scores`` [n] with those of the wanted targets for the first user."""
    sums, reached = scratch.sums, scratch.reached
    n_reached = _add_weights(items, users, 0, sums, reached)
    for place in range(len(wanted)):
        item = wanted[place]
        scores[place] = sums[item]
        if _is_unreached(sums[item]):
            scores[place] = _score_unreached(items, users, 0, item)
    _forget(sums, reached[:n_reached])


@compiled
def _add_weights(
    items: _SparseItems, users: _Users, user: int, sums: Float64Array, reached: Int32Array
) -> int:
    """Add up one user's scores in order of the items they are from; how many items they reach."""
    n = 0
    for entry in range(users.starts[user], users.starts[user + 1]):
        weight, item = np.float64(users.weights[entry]), users.items[entry]
        # Unsigned: numba asks of no such index whether it is negative.
        for place in range(np.uintp(items.starts[item]), np.uintp(items.starts[item + 1])):
            target = np.uintp(items.targets[place])
            reached[np.uintp(n)] = target
            before = sums[target]
            n += _is_unreached(before)
            sums[target] = before + weight * np.float64(items.values[place])
    return n


@compiled
def _is_unreached(total: float) -> bool:
    is_minus_zero: bool = np.float64(total).view(np.int64) == np.int64(-(2**63))
    return is_minus_zero


@compiled
def _score_unreached(items: _SparseItems, users: _Users, user: int, item: int) -> float:
    score: float = np.float64(items.popularity[item]) - 1.0 - users.bounds[user]
    return score


@compiled
def _forget(sums: Float64Array, items: Int32Array) -> None:
    for item in items:
        sums[item] = _UNREACHED
