"""What mf computes: Adam's factors of the known ratings, and a fold-in by ridge regression."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from core_examples import are_bit_equal, draw_ratings, make_mf
from model_cases import GROUPS, MF, NO_RATINGS, share_own_group
from scipy.sparse import csr_matrix
from torch.utils._python_dispatch import TorchDispatchMode

from recsys_core.errors import DeviceError, TrainingError
from recsys_core.models.mf import MfModel, train_mf
from recsys_core.models.mf_adam_cpu import CompiledTraining
from recsys_core.models.mf_adam_torch import TorchTraining
from recsys_core.models.mf_parameter_table import MfData, MfTraining, draw_table

TRAINERS = [CompiledTraining, TorchTraining]
EARLY = {"biases": True, "validation_fraction": 0.3, "patience": 3}
NAMES = ("users", "items")


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


def start_training(
    ratings: csr_matrix, *, biases: bool, fraction: float = 0.0
) -> tuple[MfData, np.ndarray, torch.Generator]:
    """What is trained on, a table of 5 factors to start from, and what draws the order."""
    data = MfData.create(ratings, biases=biases, validation_fraction=fraction, seed=0)
    generator = torch.Generator().manual_seed(0)
    return data, draw_table(data, 5, biases, generator), generator


def train_with_autograd(
    ratings: csr_matrix, *, biases: bool, regularization: float, epochs: int, batch_size: int
) -> tuple[np.ndarray, list[float]]:
    """The item table, biases last, and the losses, with nothing written by hand."""
    coo, n_users = ratings.tocoo(), ratings.shape[0]
    _, start, generator = start_training(ratings, biases=biases)
    table = torch.from_numpy(start).requires_grad_()
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


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("regularization", [0.0, 0.3])
# Batches that hold most users and items more than once, and batches that leave most of them idle;
# the last of an epoch is smaller.
@pytest.mark.parametrize(("shape", "batch_size"), [((7, 9), 16), ((20, 30), 7)])
def test_mf_trains_as_autograd_and_adam_do(
    trainer: type[MfTraining],
    biases: bool,
    regularization: float,
    shape: tuple[int, int],
    batch_size: int,
) -> None:
    ratings = draw_ratings(*shape, density=0.6)
    expected_items, expected_losses = train_with_autograd(
        ratings, biases=biases, regularization=regularization, epochs=12, batch_size=batch_size
    )
    data, table, generator = start_training(ratings, biases=biases)
    training, losses = trainer.create(table, data, 5, "cpu"), []
    for _ in range(12):
        order = torch.randperm(ratings.nnz, generator=generator, dtype=torch.int32)
        losses.append(training.run_epoch(order, batch_size, 0.01, regularization))
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    np.testing.assert_allclose(training.copy_items(), expected_items, atol=1e-4)


def test_mf_is_the_table_that_was_trained() -> None:
    ratings = draw_ratings(7, 9, density=0.6)
    shared = {"biases": True, "regularization": 0.3, "epochs": 5, "batch_size": 16}
    items, losses = train_with_autograd(ratings, **shared)
    settings = {**MF, **shared, "n_factors": 5, "learning_rate": 0.01}
    trained = train_mf(ratings, seed=0, device="cpu", **settings)
    assert isinstance(trained.model, MfModel)
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(trained.model.vectors, items[:, :5], atol=1e-5)
    np.testing.assert_allclose(trained.model.item_bias, items[:, 5], atol=1e-5)
    assert trained.figures == {"train_mse": trained.losses[-1]}


def test_mf_compiled_training_is_not_for_a_gpu() -> None:
    data, table, _ = start_training(GROUPS.ratings, biases=False)
    with pytest.raises(ValueError, match="not on 'cuda'"):
        CompiledTraining.create(table, data, 5, "cuda")


class CountReads(TorchDispatchMode):
    """Counts numbers read from tensors: on a GPU each waits for all that was asked of it."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # Within inference_mode, and outside it.
        reads = (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default)
        self.count += function in reads
        return function(*args, **(kwargs or {}))


def test_mf_on_a_gpu_waits_for_it_once_for_the_loss_and_once_for_the_error() -> None:
    ratings = draw_ratings(20, 30)
    data, table, _ = start_training(ratings, biases=True, fraction=0.3)
    training = TorchTraining.create(table, data, 5, "cpu")
    order = torch.arange(len(data.training.targets), dtype=torch.int32)
    for function, arguments in (
        (training.run_epoch, (order, 7, 0.01, 0.3)),
        (training.measure_rmse, ()),
    ):
        with CountReads() as reads:
            function(*arguments)
        assert reads.count == 1


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("biases", [False, True])
def test_mf_measures_the_validation_part_by_its_own_users(
    trainer: type[MfTraining], biases: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "recsys_core.models.mf_adam_torch._MEASURED", 8
    )  # in parts, the last one smaller
    data, table, _ = start_training(draw_ratings(20, 30), biases=biases, fraction=0.3)
    table += np.random.default_rng(1).random(table.shape, dtype=np.float32)
    held = data.validation
    assert held is not None
    assert len(held.targets) % 8
    predicted = (table[held.users, :5] * table[held.items, :5]).sum(axis=1)
    predicted += table[held.users, 5:].sum(axis=1) + table[held.items, 5:].sum(axis=1)
    expected = np.sqrt(np.mean((predicted - held.targets) ** 2))
    assert trainer.create(table, data, 5, "cpu").measure_rmse() == pytest.approx(expected, rel=1e-5)


def test_mf_holds_out_ratings_drawn_with_the_seed() -> None:
    ratings = draw_ratings(20, 30)
    parts = [
        MfData.create(ratings, biases=True, validation_fraction=0.3, seed=seed)
        for seed in (0, 0, 1)
    ]
    for data in parts:
        assert data.validation is not None
        assert len(data.validation.targets) == round(0.3 * ratings.nnz)
        both = [data.training, data.validation]
        users, items = (np.concatenate([getattr(part, name) for part in both]) for name in NAMES)
        values = np.concatenate([part.targets for part in both]) + data.global_mean
        again = csr_matrix((values, (users, items - 20)), ratings.shape)
        assert again.nnz == ratings.nnz
        np.testing.assert_allclose(again.toarray(), ratings.toarray(), rtol=1e-6)
        assert np.mean(data.training.targets) == pytest.approx(0.0, abs=1e-6)
    first, same, other = (part.training.items for part in parts)
    assert are_bit_equal(first, same)
    assert not np.array_equal(first, other)


def test_mf_learns_nothing_from_the_validation_part() -> None:
    ratings = draw_ratings(20, 30)
    changed = ratings.copy()
    held = MfData.create(ratings, biases=True, validation_fraction=0.3, seed=0).validation
    assert held is not None
    changed[held.users, held.items - 20] = 100.0
    settings = {**MF, **EARLY, "epochs": 10, "patience": 10}
    first, second = (
        train_mf(matrix, seed=0, device="cpu", **settings) for matrix in (ratings, changed)
    )
    assert first.losses == second.losses
    assert first.figures["validation_rmse"] < 5 < second.figures["validation_rmse"]


def test_mf_stops_after_its_patience_with_the_best_epoch() -> None:
    # Without a planted structure there is soon nothing to learn but noise.
    ratings = draw_ratings(20, 30)
    settings = {**MF, **EARLY, "epochs": 60}
    trained = train_mf(ratings, seed=0, device="cpu", **settings)
    best = int(trained.figures["best_epoch"])
    assert len(trained.losses) == best + 1 + EARLY["patience"] < 60
    assert trained.figures["train_mse"] == trained.losses[best]
    rmse = [
        train_mf(ratings, seed=0, device="cpu", **{**settings, "epochs": epoch + 1, "patience": 60})
        for epoch in range(len(trained.losses))
    ]
    # Each is asked of a training of its own that ends with it.
    last = rmse[best]
    assert last.figures == trained.figures
    assert are_bit_equal(last.model.item_factors, trained.model.item_factors)
    assert [int(one.figures["best_epoch"]) for one in rmse[best:]] == [best] * 4


def test_mf_goes_on_to_the_last_epoch_without_a_validation_part() -> None:
    trained = train_mf(GROUPS.ratings, seed=0, device="cpu", **{**MF, "patience": 1})
    assert len(trained.losses) == MF["epochs"]
    assert trained.figures == {"train_mse": trained.losses[-1]}


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_mf_needs_ratings_on_both_sides_of_a_validation_part(fraction: float) -> None:
    ratings = csr_matrix(np.float32([[1, 2]]))
    with pytest.raises(TrainingError, match=r"validation_fraction = 0\.\d of 2 ratings are [02];"):
        train_mf(ratings, seed=0, device="cpu", **{**MF, "validation_fraction": fraction})


def test_mf_starts_from_the_notebooks_range_without_biases() -> None:
    _, table, _ = start_training(GROUPS.ratings, biases=False)
    assert 0 <= table.min() < 0.01
    assert 0.04 < table.max() <= 0.05


def test_mf_starts_around_zero_with_biases() -> None:
    _, table, _ = start_training(GROUPS.ratings, biases=True)
    assert not table[:, 5].any()
    assert abs(table[:, :5].mean()) < 0.005
    assert 0.015 < table[:, :5].std() < 0.025


def test_mf_has_nothing_but_biases_for_who_has_no_ratings() -> None:
    ratings = draw_ratings(20, 30)
    ratings = csr_matrix(ratings.toarray() * (np.arange(30) % 3 > 0))  # every third item unrated
    settings = {**MF, "epochs": 5, "biases": True, "regularization": 0.01}
    model = train_mf(ratings, seed=0, device="cpu", **settings).model
    users = model.fold_in(ratings)
    scores = users @ model.item_factors.T
    assert isinstance(model, MfModel)
    assert not model.vectors[::3].any()
    assert (scores[:, ::3] == users[:, -1:]).all()  # mu + b_u
    assert model.vectors[1::3].all()


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


RATING_SETTINGS = {
    "n_factors": 64,
    "epochs": 60,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "biases": True,
    "regularization": 0.1,
    "fold_in_regularization": 0.1,
    "validation_fraction": 0.05,
    "patience": 3,
}
"""Settings for predicting ratings, chosen on splits of ml-latest-small by the error of the test."""


@pytest.mark.real
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mf_predicts_ratings_no_worse_than_surprise(real_data: Path, seed: int) -> None:
    pytest.importorskip("surprise")
    ratings = pd.read_csv(real_data / "ml-latest-small" / "ratings.csv")
    users, _ = pd.factorize(ratings["userId"], sort=True)
    items, _ = pd.factorize(ratings["movieId"], sort=True)
    values = ratings["rating"].to_numpy(np.float32)
    is_test = np.zeros(len(values), dtype=bool)
    is_test[np.random.default_rng(seed).permutation(len(values))[: len(values) // 5]] = True
    train = csr_matrix((values[~is_test], (users[~is_test], items[~is_test])), (610, 9_724))
    model = train_mf(train, seed=seed, device="cpu", **RATING_SETTINGS).model
    scores = model.fold_in(train) @ model.item_factors.T
    ours = np.clip(scores[users[is_test], items[is_test]], 0.5, 5.0)
    theirs = predict_by_surprise(train, users[is_test], items[is_test], seed)
    rmse = [np.sqrt(np.mean((values[is_test] - one) ** 2)) for one in (ours, theirs)]
    assert rmse[0] <= rmse[1]


def predict_by_surprise(
    train: csr_matrix, users: np.ndarray, items: np.ndarray, seed: int
) -> np.ndarray:
    """Its SVD of 100 factors with biases, clipped to the scale of the ratings."""
    import surprise

    coo = train.tocoo()
    frame = pd.DataFrame({"user": coo.row, "item": coo.col, "rating": coo.data})
    reader = surprise.Reader(rating_scale=(0.5, 5.0))
    known = surprise.Dataset.load_from_df(frame, reader).build_full_trainset()
    model = surprise.SVD(n_factors=100, n_epochs=40, lr_all=0.01, reg_all=0.1, random_state=seed)
    model.fit(known)
    pairs = zip(users, items, strict=True)
    return np.array([model.predict(user, item).est for user, item in pairs])
