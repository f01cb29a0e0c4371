"""What every model promises, then what each one computes. A new model is a line in CASES."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from core_examples import Groups, are_bit_equal, draw_ratings, make_mf, make_nmf, plant_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.sparse import csr_matrix, vstack
from sklearn.decomposition import non_negative_factorization

from recsys_core.errors import DeviceError, TrainingError
from recsys_core.factor_model import TrainedModel, require_finite
from recsys_core.mf import MfModel, train_mf
from recsys_core.nmf import NmfModel, train_nmf
from recsys_core.registry import MODELS
from recsys_core.top_k import TopKScorer

NMF = {"n_components": 2, "init": "random", "max_iter": 200, "tol": 1e-4}
MF = {
    "n_factors": 4,
    "epochs": 40,
    "batch_size": 64,
    "learning_rate": 0.03,
    "biases": False,
    "regularization": 0.0,
    "fold_in_regularization": 0.02,
}
GROUPS = plant_groups()
NO_RATINGS = csr_matrix((1, GROUPS.ratings.shape[1]), dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """A registered model with settings that suit the planted groups."""

    kind: str
    settings: dict[str, Any]

    def train(self, groups: Groups = GROUPS, *, seed: int = 0, **more: Any) -> TrainedModel:
        train = MODELS[self.kind].train
        return train(groups.ratings, seed=seed, device="cpu", **{**self.settings, **more})


CASES = {
    "nmf": Case("nmf", NMF),
    "mf": Case("mf", MF),
    "mf with biases": Case("mf", {**MF, "biases": True, "regularization": 1e-3}),
}


def test_every_registered_model_is_under_test() -> None:
    assert {case.kind for case in CASES.values()} == set(MODELS)
    assert all(kind.model.kind == name for name, kind in MODELS.items())


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def trained(case: Case) -> TrainedModel:
    return case.train()


def share_own_group(trained: TrainedModel, groups: Groups, k: int) -> float:
    """How many of the k best unseen items are of the user's own group."""
    model = trained.model
    lists = TopKScorer(model.item_factors, k).rank(model.fold_in(groups.ratings), groups.ratings)
    own = groups.item_group[lists.item_index] == groups.user_group[lists.user_row]
    assert len(own) == k * len(groups.user_group)
    return float(own.mean())


def test_users_get_the_items_of_their_own_group_first(trained: TrainedModel) -> None:
    assert share_own_group(trained, GROUPS, k=2) == 1.0


def test_users_who_were_not_in_training_are_served_as_well(trained: TrainedModel) -> None:
    assert share_own_group(trained, plant_groups(n_users=60, seed=7), k=2) == 1.0


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


def test_scores_are_one_product_close_to_the_ratings(trained: TrainedModel) -> None:
    scores = trained.model.fold_in(GROUPS.ratings) @ trained.model.item_factors.T
    high = scores[(GROUPS.ratings == 5).toarray()].mean()
    low = scores[(GROUPS.ratings == 1).toarray()].mean()
    assert high > low + 2


def test_losses_fall_and_are_told_as_they_come(case: Case, trained: TrainedModel) -> None:
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


# --- nmf ---------------------------------------------------------------------------------------


def test_nmf_folds_in_by_non_negative_least_squares() -> None:
    model, ratings = make_nmf(80, 10), draw_ratings(30, 80)
    exact = [nnls(model.factors.astype(float), row)[0] for row in ratings.toarray().astype(float)]
    np.testing.assert_allclose(model.fold_in(ratings), np.array(exact), rtol=1e-4, atol=1e-5)


def test_nmf_folds_in_as_scikit_learn_does() -> None:
    ratings = draw_ratings(60, 50)
    model = train_nmf(ratings, n_components=5, init="nndsvda", max_iter=300, tol=1e-4, seed=0).model
    weights, _, _ = non_negative_factorization(
        ratings.astype(np.float64),
        H=model.item_factors.T.astype(np.float64),
        update_H=False,
        tol=1e-12,
        max_iter=20_000,
    )
    np.testing.assert_allclose(model.fold_in(ratings), weights, atol=1e-5)


def test_nmf_factors_are_not_negative_and_its_error_is_that_of_its_product() -> None:
    trained = CASES["nmf"].train(tol=1e-7, max_iter=2000)
    users, items = trained.model.fold_in(GROUPS.ratings), trained.model.item_factors
    assert min(users.min(), items.min()) >= 0
    error = np.linalg.norm(GROUPS.ratings - users @ items.T)
    assert trained.figures["reconstruction_error"] == pytest.approx(error, rel=1e-4)


def test_nmf_counts_its_iterations_and_stops_at_the_limit() -> None:
    trained = CASES["nmf"].train(tol=0.0, max_iter=7)
    assert trained.figures["iterations"] == len(trained.losses) == 7


def test_nmf_takes_more_components_than_the_matrix_has_sides() -> None:
    trained = CASES["nmf"].train(n_components=60, init="auto", max_iter=20)
    assert trained.model.item_factors.shape == (30, 60)
    assert np.isfinite(trained.model.fold_in(GROUPS.ratings)).all()


def test_nmf_of_nothing_names_what_to_change() -> None:
    nothing = csr_matrix((6, 5), dtype=np.float32)
    with pytest.raises(TrainingError, match=r"^nmf: .*train\.nmf\."):
        train_nmf(nothing, n_components=2, init="random", max_iter=5, tol=1e-4, seed=0)


def test_nmf_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    CASES["nmf"].train()
    assert capsys.readouterr() == ("", "")


def test_nmf_never_trains_on_a_gpu() -> None:
    with pytest.raises(DeviceError, match=r"train\.device = 'cuda'.*'nmf' trains on the CPU"):
        train_nmf(GROUPS.ratings, seed=0, device="cuda", **NMF)


# --- mf ----------------------------------------------------------------------------------------


def solve_ridge(model: MfModel, row: csr_matrix) -> np.ndarray:
    """(Q_o'Q_o + lambda n_o I) p = Q_o'(r - mu - b_o), bias column included, as columns."""
    rated, values = row.indices, row.data.astype(np.float64)
    design = model.vectors[rated].astype(np.float64)
    if model.item_bias is not None:
        design = np.column_stack([design, np.ones(len(rated))])
        values = values - model.global_mean - model.item_bias[rated]
    penalty = model.regularization * len(rated) * np.eye(design.shape[1])
    solved = np.linalg.solve(design.T @ design + penalty, design.T @ values)
    if model.item_bias is None:
        return solved
    return np.concatenate([solved[:-1], [1.0, model.global_mean + solved[-1]]])


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 10.0])
def test_mf_folds_in_by_ridge_regression(biases: bool, ridge: float) -> None:
    model = make_mf(60, 6, biases=biases, ridge=ridge)
    ratings = draw_ratings(25, 60)
    expected = [solve_ridge(model, ratings[[row]]) for row in range(25)]
    np.testing.assert_allclose(model.fold_in(ratings), expected, rtol=1e-4, atol=1e-5)


def test_mf_score_of_a_new_user_is_the_mean_and_the_item_bias() -> None:
    model = make_mf(30, biases=True)
    assert model.item_bias is not None
    scores = model.fold_in(NO_RATINGS) @ model.item_factors.T
    np.testing.assert_allclose(scores[0], model.global_mean + model.item_bias, rtol=1e-6)
    assert not make_mf(30).fold_in(NO_RATINGS).any()


def test_mf_without_ridge_meets_the_ratings_with_the_shortest_vector() -> None:
    ratings = draw_ratings(200, 30, density=0.15, seed=3)
    model = make_mf(30, 12, ridge=0.0)
    shortest = [
        np.linalg.lstsq(model.vectors[row.indices].astype(float), row.data, rcond=None)[0]
        for row in (ratings[[user]] for user in range(200))
    ]
    np.testing.assert_allclose(model.fold_in(ratings), shortest, rtol=1e-3, atol=1e-3)


def test_mf_bias_columns_are_not_part_of_the_embeddings() -> None:
    model = make_mf(9, 4, biases=True)
    assert model.item_factors.shape == (9, 6)
    assert are_bit_equal(model.item_embeddings, model.vectors)
    assert are_bit_equal(model.item_factors[:, :4], model.vectors)


def test_mf_learns_the_mean_and_the_biases_of_items() -> None:
    """All users agree: item 0 is a 1, item 1 a 3, item 2 a 5."""
    agreed = csr_matrix(np.tile(np.float32([1, 3, 5]), (30, 1)))
    model = train_mf(agreed, seed=0, device="cpu", **{**MF, "biases": True}).model
    assert isinstance(model, MfModel)
    assert model.global_mean == 3.0
    assert model.item_bias is not None
    assert model.item_bias[0] < -0.3
    assert model.item_bias[2] > 0.3


@pytest.mark.parametrize("shape", [(), (4,), (3, 1)])
def test_mf_refuses_biases_of_another_size(shape: tuple[int, ...]) -> None:
    arrays = make_mf(3, biases=True).to_arrays() | {"item_bias": np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match="item_bias has shape"):
        MfModel.from_arrays(arrays)


def train_with_autograd(
    ratings: csr_matrix, *, biases: bool, regularization: float, epochs: int, batch_size: int
) -> tuple[np.ndarray, list[float]]:
    """The item table, biases last, and the losses, with nothing written by hand."""
    coo, n_users = ratings.tocoo(), ratings.shape[0]
    generator = torch.Generator().manual_seed(0)
    table = torch.zeros(sum(ratings.shape), 5 + biases)
    table[:, :5].uniform_(0, 0.05, generator=generator)
    table.requires_grad_()
    mean = coo.data.mean(dtype=np.float64) if biases else 0.0
    users, items = torch.from_numpy(coo.row).long(), torch.from_numpy(coo.col).long() + n_users
    values = torch.from_numpy((coo.data - mean).astype(np.float32))
    optimizer, losses = torch.optim.Adam([table], lr=0.01), []
    for _ in range(epochs):
        of_batches = []
        for batch in torch.randperm(len(values), generator=generator).split(batch_size):
            p, q = table[users[batch]], table[items[batch]]
            predicted = (p[:, :5] * q[:, :5]).sum(dim=1)
            if biases:
                predicted = predicted + p[:, 5] + q[:, 5]
            squared = (predicted - values[batch]).square().mean()
            penalty = regularization * (p.square() + q.square()).sum(dim=1).mean()
            optimizer.zero_grad()
            (squared + penalty).backward()
            optimizer.step()
            of_batches.append(squared.item())
        losses.append(float(np.mean(of_batches)))
    return table.detach().numpy()[n_users:], losses


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("regularization", [0.0, 0.3])
def test_mf_trains_as_autograd_and_adam_do(biases: bool, regularization: float) -> None:
    ratings = draw_ratings(7, 9, density=0.6)
    # A batch of 16 holds most users and items more than once; the last of an epoch is smaller.
    shared = {"biases": biases, "regularization": regularization, "epochs": 30, "batch_size": 16}
    items, losses = train_with_autograd(ratings, **shared)
    settings = {**MF, **shared, "n_factors": 5, "learning_rate": 0.01}
    trained = train_mf(ratings, seed=0, device="cpu", **settings)
    model = trained.model
    assert isinstance(model, MfModel)
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(model.vectors, items[:, :5], atol=1e-4)
    if biases:
        np.testing.assert_allclose(model.item_bias, items[:, 5], atol=1e-4)


def test_mf_starts_from_the_notebooks_range_without_biases() -> None:
    at_rest = {**MF, "n_factors": 8, "learning_rate": 1e-30, "epochs": 1, "biases": True}
    model = train_mf(GROUPS.ratings, seed=0, device="cpu", **at_rest).model
    assert isinstance(model, MfModel)
    assert model.item_bias is not None
    assert 0 <= model.vectors.min() < 0.01
    assert 0.04 < model.vectors.max() <= 0.05
    assert np.abs(model.item_bias).max() < 1e-20


def test_mf_that_diverges_names_the_setting() -> None:
    with pytest.raises(TrainingError, match=r"^mf: .*epoch \d+; lower train\.mf\.learning_rate"):
        train_mf(GROUPS.ratings, seed=0, device="cpu", **{**MF, "learning_rate": 1e30})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_mf_never_trains_on_another_device_than_asked() -> None:
    with pytest.raises(DeviceError, match=r"train\.device = 'cuda', but torch .* finds no GPU"):
        train_mf(GROUPS.ratings, seed=0, device="cuda", **MF)
    assert train_mf(GROUPS.ratings, seed=0, **{**MF, "epochs": 1}).device == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_mf_serves_the_same_items_when_trained_on_a_gpu() -> None:
    trained = train_mf(GROUPS.ratings, seed=0, device="cuda", **MF)
    assert trained.device == "cuda"
    assert share_own_group(trained, GROUPS, k=2) == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_broken_factors_name_the_model_and_the_advice(bad: float) -> None:
    with pytest.raises(TrainingError, match="mf: factors are not finite after epoch 3; rest"):
        require_finite("mf", np.array([1.0, bad]), after="epoch 3", advice="rest")
    require_finite("mf", np.ones(2), after="epoch 3", advice="rest")


def test_nmf_arrays_of_another_dtype_become_float32() -> None:
    model = NmfModel.from_arrays({"item_factors": np.ones((3, 2), order="F")})
    assert model.item_factors.dtype == np.float32
    assert model.item_factors.flags.c_contiguous
