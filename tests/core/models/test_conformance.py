"""What every model promises. What each one computes is in a file of its own."""

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import CASES, GROUPS, NO_RATINGS, Case, share_own_group
from scipy.sparse import vstack

from recsys_core.arrays import Csr
from recsys_core.errors import TrainingError
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.base import TrainedModel, require_finite
from recsys_core.models.registry import MODELS
from recsys_core.ranking.model_scorer import ModelScorer


def test_every_registered_model_is_under_test() -> None:
    missing = [name for name in MODELS if name not in CASES]
    assert not missing, f"tests/model_cases.py: give CASES a Case with small settings of {missing}"
    assert {case.kind for case in CASES.values()} == set(MODELS)
    assert all(kind.model.kind == name for name, kind in MODELS.items())


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def trained(case: Case) -> TrainedModel:
    return case.train()


def test_users_get_the_items_of_their_own_group_first(case: Case) -> None:
    groups = case.plant()
    assert share_own_group(case.train(groups), groups, k=2) == 1.0


def test_users_who_were_not_in_training_are_served_as_well(case: Case) -> None:
    trained = case.train(case.plant())
    assert share_own_group(trained, case.plant(60, seed=7), k=2) == 1.0


def test_item_factors_are_float32_rows_of_items(trained: TrainedModel) -> None:
    model, (n_users, n_items) = trained.model, GROUPS.ratings.shape
    users = model.fold_in(GROUPS.ratings)
    assert model.item_factors.shape == (n_items, users.shape[1])
    assert len(users) == n_users
    assert len(model.item_embeddings) == n_items
    for array in (model.item_factors, users):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()


def test_scores_are_one_product_close_to_the_ratings(case: Case, trained: TrainedModel) -> None:
    if not case.predicts_ratings:
        pytest.skip("this model does not predict ratings")
    scores = trained.model.fold_in(GROUPS.ratings) @ trained.model.item_factors.T
    high = scores[(GROUPS.ratings == 5).toarray()].mean()
    low = scores[(GROUPS.ratings == 1).toarray()].mean()
    assert high > low + 2


def test_losses_fall_and_are_told_as_they_come(case: Case, trained: TrainedModel) -> None:
    if not case.is_iterative:
        pytest.skip("this model is computed in one go")
    told: list[tuple[int, float]] = []
    losses = case.train(on_epoch=lambda epoch, loss: told.append((epoch, loss))).losses
    assert told == list(enumerate(losses))
    assert losses == trained.losses
    assert losses[-1] < 0.5 * losses[0]
    assert np.isfinite(losses).all()
    assert trained.device == "cpu"


def test_figures_are_named_and_finite(trained: TrainedModel) -> None:
    assert trained.figures
    assert np.isfinite(list(trained.figures.values())).all()


def require_equal(model: ItemModel, other: ItemModel) -> None:
    """Fail unless the two are the same in every bit that is saved."""
    arrays, others = model.to_arrays(), other.to_arrays()
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert are_bit_equal(np.asarray(array), np.asarray(others[name])), name


def test_one_seed_gives_one_model_and_another_seed_another(
    case: Case, trained: TrainedModel
) -> None:
    require_equal(case.train(seed=0).model, trained.model)
    other = case.train(seed=1).model.item_factors
    if not case.is_iterative:
        return
    assert not np.allclose(other, trained.model.item_factors)


def test_a_user_without_ratings_has_finite_factors(trained: TrainedModel) -> None:
    assert np.isfinite(trained.model.fold_in(NO_RATINGS)).all()


def test_no_users_give_no_factors(trained: TrainedModel) -> None:
    assert trained.model.fold_in(GROUPS.ratings[:0]).shape == trained.model.item_factors[:0].shape


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.permutations(range(8)), st.floats(0.0, 1.0))
def test_factors_of_a_user_depend_on_that_user_alone(
    trained: TrainedModel, seed: int, order: list[int], density: float
) -> None:
    ratings = draw_ratings(8, GROUPS.ratings.shape[1], seed=seed, density=density)
    model, together = trained.model, trained.model.fold_in(ratings)
    assert are_bit_equal(model.fold_in(ratings[order]), together[order])
    alone = [model.fold_in(ratings[[row]]) for row in range(8)]
    assert are_bit_equal(np.concatenate(alone), together)
    crowd = model.fold_in(vstack([GROUPS.ratings, ratings], format="csr"))
    assert are_bit_equal(crowd[-8:], together)
    lists = rank(model, ratings)
    assert rank(model, ratings[order]) == [lists[user] for user in order]
    assert [rank(model, ratings[[row]])[0] for row in range(8)] == lists


def rank(model: ItemModel, ratings: Csr) -> list[list[tuple[int, float]]]:
    """The items and scores of each user's list of five."""
    ranked = ModelScorer(model, 5).rank(model.fold(ratings))
    rows = zip(ranked.item_index.tolist(), ranked.score.tolist(), strict=True)
    entries = iter(rows)
    return [[next(entries) for _ in range(count)] for count in ranked.counts.tolist()]


@pytest.mark.parametrize("allowed", [None, np.arange(1, 30, 3, dtype=np.int32)])
def test_lists_are_in_order_of_the_exact_scores(
    trained: TrainedModel, allowed: np.ndarray | None
) -> None:
    model, n_items = trained.model, GROUPS.ratings.shape[1]
    ratings = draw_ratings(12, n_items, seed=3, density=0.2)
    scorer = ModelScorer(model, n_items, allowed=allowed)
    lists = scorer.rank(model.fold(ratings))
    items = np.arange(n_items) if allowed is None else allowed
    ends = np.cumsum(lists.counts)
    for user, found in enumerate(np.split(lists.item_index, ends[:-1])):
        one = scorer.keep_allowed(model.fold(ratings)).take_one(user)
        scores = scorer.score_places(one, np.arange(len(items)))
        in_order = [items[place] for place in np.argsort(-scores, kind="stable")]
        seen = set(ratings[user].indices.tolist())
        assert found.tolist() == [item for item in in_order if item not in seen]


def test_scores_are_the_sum_of_both_parts(trained: TrainedModel) -> None:
    model, ratings = trained.model, GROUPS.ratings
    expected = model.fold_in(ratings).astype(np.float64) @ model.item_factors.T.astype(np.float64)
    users = model.fold(ratings)
    if model.item_weights is not None:
        expected += (users.weights @ model.item_weights.matrix).toarray()
    scorer = ModelScorer(model, 3)
    for user in range(5):
        scores = scorer.score_places(users.take_one(user), np.arange(model.n_items))
        is_scored = scores > -0.5  # all but those that nothing reaches
        assert is_scored.sum() > 5
        np.testing.assert_allclose(scores[is_scored], expected[user][is_scored], atol=1e-5)


def test_a_model_survives_as_arrays(trained: TrainedModel) -> None:
    model = trained.model
    arrays = {name: array.copy() for name, array in model.to_arrays().items()}
    again = type(model).from_arrays(arrays)
    require_equal(again, model)
    assert are_bit_equal(again.item_factors, model.item_factors)
    assert are_bit_equal(again.item_embeddings, model.item_embeddings)
    assert are_bit_equal(again.fold_in(GROUPS.ratings), model.fold_in(GROUPS.ratings))
    assert rank(again, GROUPS.ratings) == rank(model, GROUPS.ratings)


def test_missing_arrays_are_refused(trained: TrainedModel) -> None:
    with pytest.raises((KeyError, ValueError)):
        type(trained.model).from_arrays({})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_factors_name_the_model_and_the_advice(bad: float) -> None:
    with pytest.raises(TrainingError, match="mf: factors are not finite after epoch 3; rest"):
        require_finite("mf", np.array([1.0, bad]), after="epoch 3", advice="rest")
    require_finite("mf", np.ones(2), after="epoch 3", advice="rest")
