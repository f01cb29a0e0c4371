"""What every model promises. What each one computes is in a file of its own."""

import numpy as np
import pytest
from core_examples import are_bit_equal, draw_ratings
from hypothesis import given, settings
from hypothesis import strategies as st
from model_cases import CASES, GROUPS, NO_RATINGS, Case, share_own_group
from scipy.sparse import vstack

from recsys_core.errors import TrainingError
from recsys_core.models.base import TrainedModel, require_finite
from recsys_core.models.registry import MODELS


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


def test_one_seed_gives_one_model_and_another_seed_another(
    case: Case, trained: TrainedModel
) -> None:
    assert are_bit_equal(case.train(seed=0).model.item_factors, trained.model.item_factors)
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


def test_a_model_survives_as_arrays(trained: TrainedModel) -> None:
    model = trained.model
    arrays = {name: array.copy() for name, array in model.to_arrays().items()}
    again = type(model).from_arrays(arrays)
    assert are_bit_equal(again.item_factors, model.item_factors)
    assert are_bit_equal(again.item_embeddings, model.item_embeddings)
    assert are_bit_equal(again.fold_in(GROUPS.ratings), model.fold_in(GROUPS.ratings))


def test_missing_arrays_are_refused(trained: TrainedModel) -> None:
    with pytest.raises((KeyError, ValueError)):
        type(trained.model).from_arrays({})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_factors_name_the_model_and_the_advice(bad: float) -> None:
    with pytest.raises(TrainingError, match="mf: factors are not finite after epoch 3; rest"):
        require_finite("mf", np.array([1.0, bad]), after="epoch 3", advice="rest")
    require_finite("mf", np.ones(2), after="epoch 3", advice="rest")
