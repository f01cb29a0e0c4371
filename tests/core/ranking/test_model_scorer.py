"""Lists of models with a sparse part are those of the dense definition, to the last tie."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse import random as draw_sparse

from recsys_core.model_form.item_model import FoldedUsers
from recsys_core.model_form.item_weights import ItemWeights
from recsys_core.model_form.rating_weights import RatingWeights
from recsys_core.ranking import top_k
from recsys_core.ranking.list_rules import ListRules, group_items
from recsys_core.ranking.model_scorer import ModelScorer
from recsys_core.ranking.ruled_lists import RuledScorer
from recsys_core.ranking.sparse_top_k import SparseTopKScorer
from recsys_core.ranking.top_k import RankedItems, TopKScorer


@dataclass(frozen=True)
class Parts:
    """The two parts of a model."""

    item_factors: np.ndarray
    item_weights: ItemWeights


@dataclass(frozen=True)
class Night:
    """Users and items whose scores are whole numbers of eighths, so that all ties are real."""

    parts: Parts
    users: FoldedUsers
    k: int
    allowed: np.ndarray | None


def draw_weights(rng: np.random.Generator, n_items: int, density: float) -> ItemWeights:
    matrix = draw_sparse(n_items, n_items, density=density, format="csr", random_state=rng)
    matrix.data = rng.choice([-2, -1, 1, 2, 3], matrix.nnz)
    matrix = csr_matrix(matrix, dtype=np.float32)
    matrix.sort_indices()
    popularity = (rng.integers(0, 5, n_items) / 8).astype(np.float32)
    return ItemWeights(matrix, popularity, RatingWeights(0.5, 3.0))


@st.composite
def nights(draw: st.DrawFn) -> Night:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_items, n_users = draw(st.integers(1, 1500)), draw(st.integers(1, 20))
    weights = draw_weights(rng, n_items, min(1.0, draw(st.sampled_from([0, 1, 8, 60])) / n_items))
    n_columns = draw(st.sampled_from([0, 0, 1, 3]))
    rated = rng.random((n_users, n_items)) < draw(st.sampled_from([0.0, 0.01, 0.3, 1.0]))
    ratings = csr_matrix(np.where(rated, rng.integers(1, 11, rated.shape) / 2, 0.0), dtype="f4")
    factors = rng.integers(-2, 3, (n_users, n_columns)).astype(np.float32)
    allowed = None
    if draw(st.booleans()):
        allowed = np.sort(rng.permutation(n_items)[: max(1, n_items // 3)]).astype(np.int32)
    return Night(
        Parts(rng.integers(-2, 3, (n_items, n_columns)).astype(np.float32), weights),
        FoldedUsers(factors, ratings, weights.weigh(ratings)),
        draw(st.sampled_from([1, 5, 70])),
        allowed,
    )


def score_densely(night: Night) -> np.ndarray:
    """Float64 [n_users, n_items], by the words of the two modules."""
    users, weights = night.users, night.parts.item_weights
    x, s = users.weights.toarray().astype(np.float64), weights.matrix.toarray().astype(np.float64)
    scores = x @ s
    if night.parts.item_factors.shape[1]:
        return scores + users.factors.astype(np.float64) @ night.parts.item_factors.T
    reached = (x != 0).astype(np.float64) @ (s != 0) > 0
    if night.allowed is not None:
        s = s[:, night.allowed]
    bounds = np.abs(x) @ np.abs(s).max(axis=1, initial=0.0)
    return np.where(reached, scores, weights.popularity - 1 - bounds[:, None])


def rank_by_sort(night: Night) -> list[list[int]]:
    scores = score_densely(night)
    may_be_listed = night.users.seen.toarray() == 0
    if night.allowed is not None:
        may_be_listed[:, np.setdiff1d(np.arange(scores.shape[1]), night.allowed)] = False
    orders = np.argsort(-scores, axis=1, kind="stable")
    return [
        [item for item in order if may_be_listed[user, item]][: night.k]
        for user, order in enumerate(orders.tolist())
    ]


def split_lists(lists: RankedItems) -> list[list[int]]:
    ends = np.cumsum(lists.counts)[:-1]
    return [part.tolist() for part in np.split(lists.item_index, ends)]


@settings(max_examples=150, deadline=None)
@given(nights())
def test_lists_are_those_of_the_definition(night: Night) -> None:
    scorer = ModelScorer(night.parts, night.k, allowed=night.allowed)
    lists = scorer.rank(night.users)
    assert split_lists(lists) == rank_by_sort(night)
    row = np.repeat(np.arange(len(night.users)), lists.counts)
    np.testing.assert_allclose(lists.score, score_densely(night)[row, lists.item_index], rtol=1e-6)
    assert split_lists(scorer.rank(night.users)) == split_lists(lists)  # nothing is left behind


@settings(max_examples=40, deadline=None)
@given(nights())
def test_scores_of_some_places_are_those_of_lists(night: Night) -> None:
    scorer = ModelScorer(night.parts, 3, allowed=night.allowed)
    users = scorer.keep_allowed(night.users)
    places = np.arange(len(scorer.items))[::2]
    for user in range(min(3, len(users))):
        scores = scorer.score_places(users.take_one(user), places)
        expected = score_densely(night)[user, scorer.items[places]]
        np.testing.assert_array_equal(scores, expected)


def draw_real(seed: int, n_columns: int, n_items: int = 3_000) -> tuple[Parts, FoldedUsers]:
    """Numbers of all sizes, as models have them."""
    rng = np.random.default_rng(seed)
    weights = draw_weights(rng, n_items, 20 / n_items)
    weights.matrix.data[:] = rng.normal(0, 0.1, weights.matrix.nnz)
    ratings = draw_sparse(500, n_items, density=0.02, format="csr", random_state=rng)
    ratings.data = rng.integers(1, 11, ratings.nnz) / 2
    ratings = csr_matrix(ratings, dtype=np.float32)
    factors = rng.normal(0, 0.3, (500, n_columns)).astype(np.float32)
    items = rng.normal(0, 0.3, (n_items, n_columns)).astype(np.float32)
    return Parts(items, weights), FoldedUsers(factors, ratings, weights.weigh(ratings))


@pytest.mark.parametrize("n_columns", [0, 24])
def test_a_list_does_not_depend_on_who_is_ranked_beside(n_columns: int) -> None:
    parts, users = draw_real(0, n_columns)
    together = ModelScorer(parts, 10).rank(users)
    order = np.random.default_rng(1).permutation(len(users))
    weights = users.weights[order]
    other = ModelScorer(parts, 10).rank(
        FoldedUsers(users.factors[order], users.seen[order], weights)
    )
    lists = split_lists(together)
    assert split_lists(other) == [lists[user] for user in order]
    assert other.score.reshape(-1, 10).tobytes() == together.score.reshape(-1, 10)[order].tobytes()
    one = ModelScorer(parts, 10).rank(users.take_one(7))
    assert split_lists(one) == [lists[7]]


def test_parts_of_different_sizes_are_ranked_exactly() -> None:
    for seed, scale in enumerate((1e-4, 1.0, 1e4)):
        parts, users = draw_real(seed, 24)
        parts = Parts(parts.item_factors * np.float32(scale), parts.item_weights)
        night = Night(parts, users, 10, None)
        scores = score_densely(night)
        lists = split_lists(ModelScorer(parts, 10).rank(users))
        for user, expected in enumerate(rank_by_sort(night)):
            np.testing.assert_allclose(
                scores[user, lists[user]], scores[user, expected], rtol=1e-12, atol=1e-12
            )


def test_widths_of_blocks_change_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, users = draw_real(3, 24)
    lists = ModelScorer(parts, 10).rank(users)
    monkeypatch.setattr(top_k, "choose_width", lambda _n_items: 384)
    narrow = ModelScorer(parts, 10).rank(users)
    assert narrow.item_index.tobytes() == lists.item_index.tobytes()
    assert narrow.score.tobytes() == lists.score.tobytes()


def test_impossible_calls_are_refused() -> None:
    parts, users = draw_real(0, 2, n_items=30)
    with pytest.raises(ValueError, match="user_weights belong to a scorer with item weights"):
        TopKScorer(parts.item_factors, 3).rank(users.factors, users.seen, users.weights)
    with pytest.raises(ValueError, match="user_weights belong"):
        TopKScorer(parts.item_factors, 3, weights=parts.item_weights).rank(
            users.factors, users.seen
        )
    with pytest.raises(ValueError, match="k = 0"):
        SparseTopKScorer(parts.item_weights, 0)
    with pytest.raises(ValueError, match="no items"):
        SparseTopKScorer(parts.item_weights.keep_targets(np.zeros(0, np.int32)), 1)
    huge = users.weights * np.float32(1e38)
    for columns in (0, 2):
        scorer = ModelScorer(Parts(parts.item_factors[:, :columns], parts.item_weights), 3)
        with pytest.raises(ValueError, match="scores within float32"):
            scorer.rank(FoldedUsers(users.factors[:, :columns], users.seen, huge))


@settings(max_examples=60, deadline=None)
@given(nights(), st.sampled_from([1, 2, 100]), st.sampled_from([-np.inf, 0.0]))
def test_rules_hold_for_both_parts(night: Night, cap: int, min_score: float) -> None:
    """At most ``cap`` items of each of three clusters, taken in order of the exact scores."""
    n_items = len(night.parts.item_factors)
    cluster = (np.arange(n_items) % 3).astype(np.int32)
    rules = ListRules(
        group_items([None] * n_items, {}, cluster, cap), night.allowed, min_score=min_score
    )
    lists, _ = RuledScorer(night.parts, night.k, rules).rank(night.users)
    scores = score_densely(night)
    whole = rank_by_sort(replace(night, k=n_items))
    for user, found in enumerate(split_lists(lists)):
        counts, expected = [0, 0, 0], []
        for item in whole[user]:
            if scores[user, item] >= min_score and counts[cluster[item]] < cap:
                counts[cluster[item]] += 1
                expected.append(item)
        assert found == expected[: night.k]
