"""What lists are made of, at each cutoff. None of it says whether a list is good.

Of each user's list, then the mean over users:

    popularity  mean number of training ratings of the items listed
    novelty     mean of -log2(share of the users of training who rated the item), an item without a
                rating as one of one: Zhou, Kuscsik, Liu, Medo, Wakeling, Zhang, *Solving the
                apparent diversity-accuracy dilemma of recommender systems*, PNAS 2010
    tail_share  share of the places that hold items of the tail: Abdollahpouri, Burke, Mobasher,
                *Managing Popularity Bias in Recommender Systems with Personalized Re-ranking*,
                FLAIRS 2019. The tail is all items but the most rated ones that have 80% of the
                ratings: Yin, Cui, Li, Yao, Chen, *Challenging the Long Tail Recommendation*,
                VLDB 2012
    diversity   mean of 1 - cosine over the pairs of items of a list, see ``ItemLikeness``
    full_lists  share of users who get as many items as were asked for

Of all lists together:

    coverage    share of the items that are in anybody's list
    gini        how unevenly items share the places of all lists: 0 where all have as many, towards
                1 where few have them all. Fleder, Hosanagar, *Blockbuster Culture's Next Rise or
                Fall*, Management Science 2009
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from scipy.sparse import csr_matrix

from recsys_core.arrays import BoolArray, Csr, Float64Array, Int64Array
from recsys_core.evaluation.baselines import count_ratings
from recsys_core.evaluation.metrics import UserMeasure
from recsys_core.evaluation.splits import draw_rows
from recsys_core.evaluation.user_blocks import split_lists
from recsys_core.ranking.top_k import RankedItems
from recsys_core.sparse import split_pattern

HEAD_SHARE: Final = 0.8
"""Share of the ratings that the most rated items have, which are not the tail."""
_LIKENESS_USERS = 10_000
_MEASURED_USERS = 1_000
_MEASURED_AT_ONCE = 64


@dataclass(frozen=True)
class ItemLikeness:
    """How alike two items are: the cosine of who rated them, whatever the ratings.

    It comes from the ratings that all models are trained on, and from none of the models, so that
    the figures of two models can be compared. Two items that nobody rated both are not alike.
    """

    raters: Csr
    """CSR float64 [n_items, n_users]: rows of length 1, or 0 where nobody rated the item."""

    @classmethod
    def of(cls, ratings: Csr, *, seed: int = 0, max_users: int = _LIKENESS_USERS) -> Self:
        """By stored ratings, CSR [n_users, n_items], of so many users at most, by ``seed``."""
        n_users = ratings.shape[0]
        chosen = ratings[draw_rows(n_users, max_users, seed)]
        lengths = np.sqrt(np.maximum(count_ratings(chosen), 1))
        indptr, items = split_pattern(chosen)
        shares = csr_matrix((1 / lengths[items], items, indptr), shape=chosen.shape)
        return cls(shares.T.tocsr())

    def measure_diversity(
        self, lists: RankedItems, cutoffs: Sequence[int], *, seed: int = 0
    ) -> list[UserMeasure]:
        """Diversity of at most 1,000 users' lists, those drawn by ``seed``; 0 of a single item.

        A user who is not drawn has a total and a count of 0.
        """
        n_users = len(lists.counts)
        drawn = draw_rows(n_users, _MEASURED_USERS, seed)
        is_drawn = np.zeros(n_users)
        is_drawn[drawn] = 1.0
        measures = []
        for k in cutoffs:
            total = np.zeros(n_users)
            for start in range(0, len(drawn), _MEASURED_AT_ONCE):
                users = drawn[start : start + _MEASURED_AT_ONCE]
                total[users] = self._measure_users(lists, users, k)
            measures.append(UserMeasure("diversity", k, total, is_drawn))
        return measures

    def _measure_users(self, lists: RankedItems, users: Int64Array, k: int) -> Float64Array:
        """Float64 [len(users)]. The sum of a list's rows x has the cosine of every pair in it:
        ||sum x||^2 = sum ||x||^2 + the cosines of all ordered pairs."""
        starts = (np.cumsum(lists.counts) - lists.counts)[users]
        lengths = np.minimum(lists.counts[users], k)
        items = np.concatenate(
            [
                lists.item_index[start : start + length]
                for start, length in zip(starts, lengths, strict=True)
            ]
        )
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        shape = (len(users), self.raters.shape[0])
        listed = csr_matrix((np.ones(len(items)), items, indptr), shape=shape)
        alone = listed @ (np.diff(self.raters.indptr) > 0).astype(np.float64)
        cosines = _sum_squares(listed @ self.raters) - alone
        n_pairs = lengths * (lengths - 1)
        unlike = np.maximum(1 - cosines / np.maximum(n_pairs, 1), 0.0)  # not -1e-16
        return np.where(n_pairs > 0, unlike, 0.0)


def _sum_squares(rows: Csr) -> Float64Array:
    """Float64 [n_rows] of a CSR matrix."""
    return np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64).ravel()


def measure_items(
    lists: RankedItems, rating_count: Int64Array, n_users: int, cutoffs: Sequence[int]
) -> list[UserMeasure]:
    """Popularity, novelty, share of the tail, and whether lists are full, at each cutoff.

    Args:
        rating_count: [n_items], of the training ratings.
        n_users: users of training.
    """
    weights = {
        "popularity": rating_count.astype(np.float64),
        "novelty": -np.log2(np.maximum(rating_count, 1) / n_users),
        "tail_share": find_tail(rating_count).astype(np.float64),
    }
    totals = {name: np.empty((len(cutoffs), len(lists.counts))) for name in weights}
    for users, block in split_lists(lists, depth=max(cutoffs)):
        row, rank = block.user_row, block.rank
        for at, k in enumerate(cutoffs):
            row_at, items = row[rank <= k], block.item_index[rank <= k]
            for name, weight in weights.items():
                totals[name][at, users] = np.bincount(row_at, weight[items], len(block.counts))
    measures = []
    for at, k in enumerate(cutoffs):
        listed = np.minimum(lists.counts, k).astype(np.float64)
        full = (lists.counts >= k).astype(np.float64)
        measures += [UserMeasure(name, k, totals[name][at], listed) for name in weights]
        measures.append(UserMeasure("full_lists", k, full, np.ones(len(full))))
    return measures


def find_tail(rating_count: Int64Array) -> BoolArray:
    """Whether each item is of the tail, [n_items].

    The head is the fewest of the most rated items that have ``HEAD_SHARE`` of the ratings; of
    equally rated ones those of the lower index.
    """
    order = np.argsort(-rating_count, kind="stable")
    before = np.cumsum(rating_count[order]) - rating_count[order]
    is_tail = np.empty(len(order), dtype=np.bool_)
    is_tail[order] = before >= HEAD_SHARE * rating_count.sum()
    return is_tail


def count_listed(lists: RankedItems, n_items: int, k: int) -> Int64Array:
    """Int64 [n_items]: in how many lists each item is among the first k."""
    counts = np.zeros(n_items, dtype=np.int64)
    for _, block in split_lists(lists, depth=int(lists.counts.max(initial=1))):
        counts += np.bincount(block.item_index[block.rank <= k], minlength=n_items)
    return counts


def measure_coverage(n_lists: Int64Array) -> float:
    """Share of the items that are in anybody's list, of ``count_listed``."""
    return np.count_nonzero(n_lists) / len(n_lists)


def measure_gini(n_lists: Int64Array) -> float:
    """The Gini coefficient of ``count_listed``; 0 where nothing is listed."""
    n_items, total = len(n_lists), int(n_lists.sum())
    if total == 0:
        return 0.0
    place = 2 * np.arange(1, n_items + 1) - n_items - 1
    return float(place @ np.sort(n_lists)) / (n_items * total)
