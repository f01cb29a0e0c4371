from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_core.items.genres import split_genres
from recsys_core.model_form.item_model import FoldedUsers
from recsys_core.ranking.list_rules import (
    CLUSTER,
    GENRE,
    ItemGroups,
    ListRules,
    group_items,
)
from recsys_core.ranking.list_rules_kernels import EFFECTS
from recsys_core.ranking.ruled_lists import RuledOrder, RuledScorer
from recsys_core.ranking.top_k import TopKScorer


@dataclass(frozen=True)
class Items:
    """A model without a sparse part."""

    item_factors: np.ndarray
    item_weights: None = None


@dataclass(frozen=True)
class Night:
    """Users, items and rules whose scores and cosines are exact, so that lists are certain."""

    users: np.ndarray
    items: np.ndarray
    seen: np.ndarray  # bool [n_users, n_items]
    k: int
    genres: list[str]
    cluster: np.ndarray
    genre_caps: dict[str, int] = field(default_factory=dict)
    cluster_cap: int | None = None
    allowed: np.ndarray | None = None
    min_score: float = -np.inf
    diversity: float = 0.0
    pool: int = 0
    embeddings: np.ndarray | None = None

    @property
    def rules(self) -> ListRules:
        return ListRules(
            group_items(self.genres, self.genre_caps, self.cluster, self.cluster_cap),
            allowed=self.allowed,
            min_score=self.min_score,
            diversity=self.diversity,
            pool=self.pool,
            embeddings=self.embeddings,
        )

    def rank(self) -> tuple[list[list[int]], dict[str, int]]:
        scorer = RuledScorer(Items(self.items), self.k, self.rules)
        seen = csr_matrix(self.seen.astype(np.float32))
        ranked, effects = scorer.rank(FoldedUsers(self.users, seen))
        ends = np.cumsum(ranked.counts)
        lists = [part.tolist() for part in np.split(ranked.item_index, ends[:-1])]
        return lists, dict(zip(EFFECTS, effects.tolist(), strict=True))


def choose_by_hand(night: Night, user: int) -> list[int]:
    """A list by the words of ``recsys_core.ranking.list_rules``, one item after another."""
    scores = night.items.astype(np.float64) @ night.users[user].astype(np.float64)
    allowed = set(range(len(scores)) if night.allowed is None else night.allowed.tolist())
    candidates = [
        item
        for item in np.argsort(-scores, kind="stable").tolist()
        if item in allowed and not night.seen[user, item] and scores[item] >= night.min_score
    ]
    chosen: list[int] = []
    if night.diversity > 0 and candidates:
        pool, candidates = candidates[: night.pool], candidates[night.pool :]
        best, last = scores[pool[0]], scores[pool[-1]]

        def value(item: int) -> float:
            assert night.embeddings is not None
            relevance = 1.0 if best == last else (scores[item] - last) / (best - last)
            own = night.embeddings[item]
            closest = max((float(own @ night.embeddings[other]) for other in chosen), default=-1.0)
            return float((1 - night.diversity) * relevance - night.diversity * closest)

        while pool and len(chosen) < night.k:
            item = max(pool, key=value)  # the first of equals
            pool.remove(item)
            if fits(night, item, chosen):
                chosen.append(item)
    for item in candidates:
        if len(chosen) < night.k and fits(night, item, chosen):
            chosen.append(item)
    return chosen


def fits(night: Night, item: int, chosen: list[int]) -> bool:
    for genre in split_genres(night.genres[item]):
        cap = night.genre_caps.get(genre, night.genre_caps.get("*"))
        of_genre = sum(genre in split_genres(night.genres[other]) for other in chosen)
        if cap is not None and of_genre >= cap:
            return False
    of_cluster = sum(night.cluster[other] == night.cluster[item] for other in chosen)
    return night.cluster_cap is None or bool(of_cluster < night.cluster_cap)


@st.composite
def nights(draw: st.DrawFn) -> Night:
    """Small whole numbers: scores tie often, and float32 holds them exactly."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_items, n_users = draw(st.integers(1, 150)), draw(st.integers(1, 4))
    k = draw(st.integers(1, 6))
    genres = ["|".join(rng.permutation(list("ABC"))[: rng.integers(0, 3)]) for _ in range(n_items)]
    some = np.sort(rng.permutation(n_items)[: max(1, n_items // 2)]).astype(np.int32)
    # With halves no product is rounded, in whatever order it is computed.
    diversity = draw(st.sampled_from([0.0, 0.5]))
    axes = np.eye(4, dtype=np.float32)[rng.integers(0, 4, n_items)]
    return Night(
        users=rng.integers(-2, 3, (n_users, 3)).astype(np.float32),
        items=rng.integers(-3, 4, (n_items, 3)).astype(np.float32),
        seen=rng.random((n_users, n_items)) < draw(st.sampled_from([0.0, 0.3, 1.0])),
        k=k,
        genres=genres,
        cluster=rng.integers(0, 3, n_items).astype(np.int32),
        genre_caps=draw(st.sampled_from([{}, {"A": 1}, {"B": 0, "*": 2}, {"*": 1}])),
        cluster_cap=draw(st.sampled_from([None, 1, 2])),
        allowed=draw(st.sampled_from([None, some])),
        min_score=draw(st.sampled_from([-np.inf, 0.0, 4.0])),
        diversity=diversity,
        pool=k + draw(st.integers(0, 8)) if diversity else 0,
        embeddings=axes * rng.choice([-2, 0, 2], (n_items, 1)).astype(np.float32) / 2,
    )


@settings(max_examples=300, deadline=None)
@given(nights())
def test_lists_are_those_chosen_by_hand(night: Night) -> None:
    lists, effects = night.rank()
    assert lists == [choose_by_hand(night, user) for user in range(len(night.users))]
    n_allowed = len(night.items) if night.allowed is None else len(night.allowed)
    seen = night.seen if night.allowed is None else night.seen[:, night.allowed]
    wanted = np.minimum(n_allowed - seen.sum(axis=1), night.k)
    empty = wanted - [len(items) for items in lists]
    assert effects["empty_places"] == empty.sum()
    assert effects["empty_lists"] == ((empty == wanted) & (wanted > 0)).sum()


def make_catalogue(n_items: int = 3_000, n_users: int = 40, *, seed: int = 0) -> Night:
    rng = np.random.default_rng(seed)
    return Night(
        users=rng.normal(size=(n_users, 8)).astype(np.float32),
        items=rng.normal(size=(n_items, 8)).astype(np.float32),
        seen=rng.random((n_users, n_items)) < 0.05,
        k=10,
        genres=["|".join(rng.permutation(list("ABCDE"))[:2]) for _ in range(n_items)],
        cluster=rng.integers(0, 5, n_items).astype(np.int32),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"genre_caps": {"*": 1}},  # nobody's list can be filled: all items are looked at
        {"genre_caps": {"A": 0, "B": 0, "C": 0}},  # most of the best are passed over
        {"cluster_cap": 1},
        {"min_score": 5.0},
    ],
    ids=str,
)
def test_a_list_is_filled_from_as_far_down_as_it_takes(changes: dict[str, Any]) -> None:
    night = replace(make_catalogue(), **changes)
    lists, effects = night.rank()
    assert lists == [choose_by_hand(night, user) for user in range(len(night.users))]
    assert effects["empty_places"] == sum(night.k - len(items) for items in lists)


def make_ladder(genres: str, k: int, **rules: Any) -> Night:
    """One user, and items of one genre each whose scores go down by one."""
    return Night(
        users=np.ones((1, 1), np.float32),
        items=np.arange(len(genres), 0, -1, dtype=np.float32)[:, None],
        seen=np.zeros((1, len(genres)), np.bool_),
        k=k,
        genres=[*genres],
        cluster=np.zeros(len(genres), np.int32),
        **rules,
    )


def test_a_list_is_filled_when_one_genre_after_another_is_used_up() -> None:
    night = make_ladder("A" * 12 + "B" * 60 + "C", k=3, genre_caps={"*": 1})
    lists, _ = night.rank()
    assert lists == [[0, 12, 72]]


def test_without_rules_lists_are_those_of_the_scorer() -> None:
    night = make_catalogue()
    lists, effects = night.rank()
    seen = csr_matrix(night.seen.astype(np.float32))
    plain = TopKScorer(night.items, night.k).rank(night.users, seen)
    assert [item for items in lists for item in items] == plain.item_index.tolist()
    assert set(effects.values()) == {0}


def test_published_scores_are_not_below_the_minimum() -> None:
    # 0.3 in float32 is above 0.3, and 0.1 in float32 too; 0.7 is below: readers compare doubles.
    items = np.array([[0.7], [0.3], [0.1]], dtype=np.float32)
    for score, n_kept in ((0.7, 0), (0.3, 2), (0.1, 3)):
        nothing = ItemGroups(np.zeros(4, np.int64), *[np.zeros(0, np.int32)] * 3)
        scorer = RuledScorer(Items(items), 3, ListRules(nothing, min_score=score))
        one = FoldedUsers(np.ones((1, 1), np.float32), csr_matrix((1, 3), dtype=np.float32))
        ranked, _ = scorer.rank(one)
        assert len(ranked.score) == n_kept
        assert (ranked.score.astype(np.float64) >= score).all()


def test_effects_of_caps_are_counted_among_the_first_k() -> None:
    night = make_ladder("AABAABCC", k=4, genre_caps={"A": 1}, cluster_cap=2)
    night = replace(night, cluster=np.array([0, 0, 1, 0, 0, 1, 1, 1], np.int32))
    lists, effects = night.rank()
    assert lists == [[0, 2, 5]]
    # Of the items 0 to 3 the caps keep out 1 and 3; item 6 finds its cluster full.
    assert effects["items_over_genre_cap"] == 2
    assert effects["lists_with_genre_cap"] == 1
    assert effects["items_over_cluster_cap"] == effects["lists_with_cluster_cap"] == 0
    assert effects["empty_places"] == 1
    by_cluster = replace(night, genre_caps={})
    lists, effects = by_cluster.rank()
    assert lists == [[0, 1, 2, 5]]
    assert (effects["items_over_cluster_cap"], effects["lists_with_cluster_cap"]) == (1, 1)
    assert effects["items_over_genre_cap"] == 0


def test_effects_of_score_and_diversity_are_counted() -> None:
    night = Night(
        users=np.ones((2, 1), np.float32),
        items=np.array([[9], [8], [7], [6]], dtype=np.float32),
        seen=np.array([[0, 0, 0, 0], [1, 1, 0, 0]], np.bool_),
        k=2,
        genres=[""] * 4,
        cluster=np.zeros(4, np.int32),
        diversity=0.5,
        pool=3,
        embeddings=np.array([[1, 0], [1, 0], [0, 1], [0, -1]], np.float32),
    )
    lists, effects = night.rank()
    assert lists == [[0, 2], [2, 3]]
    assert (effects["lists_made_diverse"], effects["items_by_diversity"]) == (1, 1)
    cut = replace(night, min_score=6.5)
    lists, effects = cut.rank()
    assert lists == [[0, 2], [2]]
    assert (effects["lists_cut_by_score"], effects["empty_places"]) == (1, 1)
    # A list that is full is not cut, though the next candidate is below the minimum.
    _, effects = replace(cut, seen=np.zeros((2, 4), np.bool_), pool=4).rank()
    assert (effects["lists_cut_by_score"], effects["empty_places"]) == (0, 0)
    # Another order is a difference too.
    unlike = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    lists, effects = replace(night, k=3, users=night.users[:1], embeddings=unlike).rank()
    assert lists == [[0, 2, 1]]
    assert (effects["lists_made_diverse"], effects["items_by_diversity"]) == (1, 0)


def test_caps_hold_in_diverse_lists_and_are_counted_among_the_first_k() -> None:
    alike = np.ones((6, 1), np.float32)
    night = make_ladder("AAAABC", k=3, genre_caps={"A": 1}, diversity=0.5, pool=6)
    lists, effects = replace(night, embeddings=alike).rank()
    assert lists == [[0, 4, 5]]
    assert (effects["items_over_genre_cap"], effects["lists_with_genre_cap"]) == (2, 1)


def test_diversity_makes_lists_less_alike() -> None:
    night = make_catalogue()

    def mean_cosine(diversity: float) -> float:
        directions = night.items / np.linalg.norm(night.items, axis=1, keepdims=True)
        pool = 500 if diversity else 0
        varied = replace(night, diversity=diversity, pool=pool, embeddings=night.items)
        lists, _ = varied.rank()
        pairs = [directions[items] @ directions[items].T for items in lists]
        return float(np.mean([cosines[np.triu_indices(10, 1)].mean() for cosines in pairs]))

    assert mean_cosine(0.0) > mean_cosine(0.3) + 0.02 > mean_cosine(0.7) + 0.05


def test_a_list_does_not_depend_on_who_shares_the_block() -> None:
    night = make_catalogue(n_users=30)
    caps = {"A": 1, "*": 4}
    night = replace(night, genre_caps=caps, cluster_cap=3, diversity=0.3, pool=20)
    night = replace(night, embeddings=night.items)
    lists, effects = night.rank()
    apart = [
        replace(night, users=night.users[one], seen=night.seen[one]).rank()
        for one in (slice(at, at + 1) for at in range(30))
    ]
    assert lists == [items for (items,), _ in apart]
    assert effects == {name: sum(of_one[name] for _, of_one in apart) for name in EFFECTS}


def test_popular_items_keep_to_the_rules_too() -> None:
    count = np.array([5, 9, 7, 1, 8, 6], dtype=np.float32)
    order = np.argsort(-count, kind="stable").astype(np.int32)  # 1 4 2 5 0 3
    groups = group_items(["A", "A", "B", "C", "A", "A"], {"A": 1}, np.zeros(6, np.int32), None)
    allowed = np.array([0, 1, 2, 4, 5], np.int32)
    # The minimum is one of scores: counts are not held to it.
    ruled = RuledOrder(order, count, 3, ListRules(groups, allowed=allowed, min_score=100.0))
    nobody, one, all_seen = np.array([], np.int32), np.array([1, 3], np.int32), allowed
    lists, effects = ruled.take_each([nobody, one, all_seen])
    assert lists.counts.tolist() == [2, 2, 0]
    assert lists.item_index.tolist() == [1, 2, 4, 2]
    assert lists.score.tolist() == [9, 7, 8, 7]
    counted = dict(zip(EFFECTS, effects.tolist(), strict=True))
    assert counted["empty_places"] == 2
    assert counted["empty_lists"] == 0
    plain, effects = RuledOrder(order, count, 3, None).take_each([one, nobody])
    assert plain.item_index.tolist() == [4, 2, 5, 1, 4, 2]
    assert not effects.any()


def test_popular_lists_go_down_as_far_as_it_takes() -> None:
    n_items = 400
    count = np.arange(n_items, 0, -1).astype(np.float32)
    genres = ["A"] * (n_items - 1) + ["B"]
    groups = group_items(genres, {"A": 1}, np.zeros(n_items, np.int32), None)
    order = np.arange(n_items, dtype=np.int32)
    lists, _ = RuledOrder(order, count, 2, ListRules(groups)).take_each([np.array([0], np.int32)])
    assert lists.item_index.tolist() == [1, n_items - 1]


def test_groups_are_the_capped_genres_and_clusters() -> None:
    genres = ["A|B", "(no genres listed)", "B|B|C", "C"]
    cluster = np.array([1, 0, 1, 0], np.int32)
    groups = group_items(genres, {"B": 3, "*": 5}, cluster, 2)
    assert groups.cap.tolist() == [5, 3, 5, 2, 2]
    assert groups.kind.tolist() == [GENRE] * 3 + [CLUSTER] * 2
    members = [
        groups.groups[first:end].tolist()
        for first, end in zip(groups.starts, groups.starts[1:], strict=False)
    ]
    assert members == [[0, 1, 4], [3], [1, 2, 4], [2, 3]]
    only_b = group_items(genres, {"B": 3}, cluster, None)
    assert only_b.cap.tolist() == [3]
    assert only_b.starts.tolist() == [0, 1, 1, 2, 2]


def test_no_item_may_be_recommended() -> None:
    groups = group_items(["", ""], {}, np.zeros(2, np.int32), None)
    rules = ListRules(groups, allowed=np.array([], np.int32))
    with pytest.raises(ValueError, match="no items to rank"):
        RuledScorer(Items(np.ones((2, 3), np.float32)), 1, rules)
