"""What mf computes: Adam's factors of the known ratings, and a fold-in by ridge regression."""

import numpy as np
import pytest
import torch
from core_examples import are_bit_equal, draw_ratings, make_mf
from model_cases import GROUPS, MF, NO_RATINGS, share_own_group
from scipy.sparse import csr_matrix

from recsys_core.errors import DeviceError, TrainingError
from recsys_core.mf import MfModel, train_mf


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
