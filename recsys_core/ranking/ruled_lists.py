"""Lists by the rules of ``list_rules``.

A user's candidates are the unseen items that the rules allow, those with the highest score first,
ties going to the lower item index. They are taken in that order, and one that would be more of its
genre or cluster than the list may hold is passed over, until the list has k items. For diversity
the best of them are first put in the order of maximal marginal relevance (Carbonell and Goldstein,
SIGIR 1998): each next item is the one with the largest

    (1 - diversity) * relevance - diversity * (largest cosine with an item that is in the list),

relevance being the score, moved and scaled so that the pool's best has 1 and its last has 0.

All of it is exact: where the candidates first fetched do not fill a list, and there are more, that
user's are all ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_core.arrays import Float32Array, Int32Array, Int64Array
from recsys_core.items.directions import find_directions
from recsys_core.model_form.item_model import FoldedUsers, ItemParts
from recsys_core.ranking.exact_order import order_by_score
from recsys_core.ranking.list_rules import ItemGroups, ListRules
from recsys_core.ranking.list_rules_kernels import (
    EFFECTS,
    CompiledRules,
    choose_lists,
    find_open,
)
from recsys_core.ranking.model_scorer import ModelScorer
from recsys_core.ranking.top_k import RankedItems


def _compile_rules(rules: ListRules, k: int) -> CompiledRules:
    directions = np.zeros((0, 0), dtype=np.float32)
    if rules.embeddings is not None:
        directions = find_directions(rules.embeddings)
    groups = rules.groups
    return CompiledRules(
        k=k,
        min_score=rules.min_score,
        starts=groups.starts,
        groups=groups.groups,
        cap=groups.cap,
        kind=groups.kind,
        in_list=np.zeros(len(groups.cap), dtype=np.int32),
        diversity=rules.diversity,
        pool=rules.pool if rules.diversity > 0 else 0,
        directions=directions,
    )


CANDIDATES_PER_PLACE = 4
"""Candidates fetched for each place of a list where caps may pass over some."""
_MORE = 16
"""Further ones looked at for each place where these do not fill the list, before all are."""


class RuledScorer:
    """``ModelScorer`` under rules: the same call, and an account of what they did.

    Not thread-safe. A list depends on its own user alone.
    """

    def __init__(self, model: ItemParts, k: int, rules: ListRules) -> None:
        """Arrange the allowed items for scoring.

        Args:
            k: length of the lists, at least 1.

        Raises:
            ValueError: as ``ModelScorer``.
        """
        fetched = CANDIDATES_PER_PLACE * k if len(rules.groups.cap) else k
        self._scorer = ModelScorer(model, max(fetched, rules.pool), allowed=rules.allowed)
        self._items = self._scorer.items
        self._is_out = np.zeros(len(self._items), dtype=np.bool_)
        self._rules = _compile_rules(rules, k)

    def rank(self, users: FoldedUsers) -> tuple[RankedItems, Int64Array]:
        """The list of each user, and the effects of the rules on them all, [len(EFFECTS)].

        Raises:
            ValueError: as ``ModelScorer.rank``.
        """
        users = self._scorer.keep_allowed(users)
        best = self._scorer.rank_places(users)
        n_unseen = len(self._items) - np.diff(users.seen.indptr).astype(np.int64)
        lists = _Lists.create(len(users), self._rules.k)
        starts = np.concatenate([[0], np.cumsum(best.counts)])
        items = self._items[best.item_index]
        are_all = best.counts == n_unseen
        choose_lists(self._rules, starts, items, best.score, are_all, n_unseen, *lists.arrays)
        for user in np.flatnonzero(lists.count < 0).tolist():
            first = slice(starts[user], starts[user + 1])
            self._finish_list(
                users.take_one(user),
                (best.item_index[first], best.score[first]),
                n_unseen[user : user + 1],
                lists.of_user(user),
            )
        return lists.ranked, lists.effects

    def _finish_list(
        self,
        user: FoldedUsers,
        fetched: tuple[Int32Array, Float32Array],
        n_unseen: Int64Array,
        one: "_Lists",
    ) -> None:
        """Make the list of a user from more candidates than were fetched, which are not enough.

        Items of groups of which the list has enough cannot be chosen any more, and are left out.

        Args:
            fetched: places in the allowed items in order, with scores.
        """
        (places, scores), seen = fetched, user.seen.indices
        self._choose_one(places, scores, False, n_unseen, one)
        self._is_out[seen] = self._is_out[places] = True
        rest = find_open(self._rules, self._items, self._is_out)
        self._is_out[seen] = self._is_out[places] = False
        of_rest = self._scorer.score_places(user, rest)
        for n_more in (_MORE * self._rules.k, len(rest)):
            if n_more < len(rest):
                least = np.partition(of_rest, -n_more)[-n_more]
                more = np.flatnonzero(of_rest >= least)
            else:
                more = np.arange(len(rest))
            more = more[order_by_score(of_rest[more])]
            self._choose_one(
                np.concatenate([places, rest[more].astype(np.int32)]),
                np.concatenate([scores, of_rest[more].astype(np.float32)]),
                len(more) == len(rest),
                n_unseen,
                one,
            )
            if one.count[0] >= 0:
                return

    def _choose_one(
        self,
        places: Int32Array,
        scores: Float32Array,
        are_all: bool,
        n_unseen: Int64Array,
        one: "_Lists",
    ) -> None:
        starts = np.array([0, len(places)])
        items = self._items[places]
        choose_lists(self._rules, starts, items, scores, np.array([are_all]), n_unseen, *one.arrays)


class RuledOrder:
    """Lists for users of whom nothing is known but what they have seen: one order for everybody."""

    def __init__(
        self, order: Int32Array, score: Float32Array, k: int, rules: ListRules | None
    ) -> None:
        """Keep what the rules allow of the order. Their minimum score is one of the model's scores.

        Args:
            order: item indices, best first.
            score: [n_items] by item index.
            rules: None where there are none.
        """
        nothing = ItemGroups(np.zeros(len(score) + 1, np.int64), *[np.zeros(0, np.int32)] * 3)
        self._rules = _compile_rules(rules or ListRules(nothing), k)._replace(min_score=-np.inf)
        if rules is not None and rules.allowed is not None:
            order = order[np.isin(order, rules.allowed)]
        self._order, self._score = order, score
        self._is_listed = np.zeros(len(score), dtype=np.bool_)
        self._is_listed[order] = True
        self._fetched = max(CANDIDATES_PER_PLACE * k, self._rules.pool)

    def take_each(self, seen: Sequence[Int32Array]) -> tuple[RankedItems, Int64Array]:
        """The lists of users who have seen these items, and the effects of the rules on them."""
        lists = _Lists.create(len(seen), self._rules.k)
        for user, items in enumerate(seen):
            self._take(items, lists.of_user(user))
        return lists.ranked, lists.effects

    def _take(self, seen: Int32Array, one: "_Lists") -> None:
        n_unseen = len(self._order) - int(self._is_listed[seen].sum())
        for n_fetched in (self._fetched + len(seen), len(self._order)):
            candidates = self._order[:n_fetched]
            candidates = candidates[~np.isin(candidates, seen)]
            choose_lists(
                self._rules,
                np.array([0, len(candidates)]),
                candidates,
                self._score[candidates],
                np.array([len(candidates) == n_unseen]),
                np.array([n_unseen]),
                *one.arrays,
            )
            if one.count[0] >= 0:
                return


@dataclass(frozen=True)
class _Lists:
    """Lists being made; a count below 0 says that more candidates are needed."""

    count: Int64Array  # [n_users]
    item_index: Int32Array  # [n_users, k]
    score: Float32Array  # [n_users, k]
    effects: Int64Array  # [len(EFFECTS)], of the lists that are made

    @classmethod
    def create(cls, n_users: int, k: int) -> "_Lists":
        return cls(
            np.full(n_users, -1, dtype=np.int64),
            np.empty((n_users, k), dtype=np.int32),
            np.empty((n_users, k), dtype=np.float32),
            np.zeros(len(EFFECTS), dtype=np.int64),
        )

    @property
    def arrays(self) -> tuple[Int64Array, Int32Array, Float32Array, Int64Array]:
        return self.count, self.item_index, self.score, self.effects

    def of_user(self, user: int) -> "_Lists":
        """A view of one user's list; effects go on in the same place."""
        one = slice(user, user + 1)
        return _Lists(self.count[one], self.item_index[one], self.score[one], self.effects)

    @property
    def ranked(self) -> RankedItems:
        listed = np.arange(self.item_index.shape[1]) < self.count[:, None]
        return RankedItems(self.count, self.item_index[listed], self.score[listed])
