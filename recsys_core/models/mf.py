"""Matrix factorization of the known ratings alone, r ~ p . q (+ mu + b_u + b_i), by Adam.

Without biases it is the third notebook's model; with them that of Koren, Bell and Volinsky,
*Matrix Factorization Techniques for Recommender Systems*, IEEE Computer 42(8), 2009.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Float64Array
from recsys_core.compile.padding import pad_columns
from recsys_core.linalg.ridge import solve_ridge
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.base import Device, OnEpoch, TrainedModel, require_finite
from recsys_core.models.devices import resolve_device
from recsys_core.models.mf_adam_cpu import CompiledTraining
from recsys_core.models.mf_adam_torch import TorchTraining
from recsys_core.models.mf_parameter_table import MfData, MfTraining, draw_table
from recsys_core.sparse import split_csr


@dataclass(frozen=True)
class MfModel(ItemModel):
    """Item vectors, optional biases, and the ridge regression that folds a user in.

    With biases the item columns are ``[q, b_i, 1]`` and the user's ``[p, 1, mu + b_u]``, so that
    the score is still one product. Without them both are the bare vectors.
    """

    kind: ClassVar[str] = "mf"
    predicts_ratings: ClassVar[bool] = True
    vectors: Float32Array
    """Float32 [n_items, n_factors]."""
    item_bias: Float32Array | None
    """Float32 [n_items]; None for a model without biases."""
    global_mean: float
    regularization: float
    """lambda of the fold-in, in units of one rating: n_o * lambda is added to the diagonal."""

    @cached_property
    def _columns(self) -> Float32Array:
        if self.item_bias is None:
            return np.ascontiguousarray(self.vectors, dtype=np.float32)
        ones = np.ones_like(self.item_bias)
        return np.column_stack([self.vectors, self.item_bias, ones]).astype(np.float32, order="C")

    @property
    def item_factors(self) -> Float32Array:
        return self._columns

    @property
    def item_embeddings(self) -> Float32Array:
        return self.vectors

    @cached_property
    def _design(self) -> Float32Array:
        """Float32 [n_items, n_factors (+ 1), padded]: what the unknowns are multiplied with."""
        columns = self.vectors
        if self.item_bias is not None:
            columns = np.column_stack([self.vectors, np.ones(len(self.vectors))])
        return pad_columns(columns.astype(np.float32, copy=False))

    def fold_in(self, ratings: Csr) -> Float32Array:
        """(Q_o'Q_o + lambda n_o I) p = Q_o'(r - mu - b_o), the user's bias being p's last entry."""
        indptr, items, values = split_csr(ratings)
        residuals = values.astype(np.float64)
        if self.item_bias is not None:
            residuals -= self.global_mean + self.item_bias[items].astype(np.float64)
        n_unknowns = self.vectors.shape[1] + (self.item_bias is not None)
        solved = solve_ridge(self._design, indptr, items, residuals, self.regularization)
        return self._to_columns(solved[:, :n_unknowns])

    def _to_columns(self, solved: Float64Array) -> Float32Array:
        if self.item_bias is None:
            return solved.astype(np.float32)
        ones = np.ones(len(solved))
        columns = [solved[:, :-1], ones, solved[:, -1] + self.global_mean]
        return np.column_stack(columns).astype(np.float32, order="C")

    def to_arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "item_factors": self.vectors,
            "global_mean": np.array([self.global_mean]),
            "regularization": np.array([self.regularization]),
        }
        if self.item_bias is not None:
            arrays["item_bias"] = self.item_bias
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        vectors = np.ascontiguousarray(arrays["item_factors"], dtype=np.float32)
        item_bias = arrays.get("item_bias")
        if vectors.ndim != 2 or (item_bias is not None and item_bias.shape != vectors.shape[:1]):
            shape = None if item_bias is None else item_bias.shape
            raise ValueError(f"item_bias has shape {shape} beside factors of {vectors.shape}")
        global_mean, regularization = (
            float(arrays[name][0]) for name in ("global_mean", "regularization")
        )
        if not (np.isfinite(global_mean) and 0 <= regularization < np.inf):
            raise ValueError(f"global_mean = {global_mean}, regularization = {regularization}")
        return cls(vectors, item_bias, global_mean, regularization)


def train_mf(
    ratings: Csr,
    *,
    n_factors: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    biases: bool,
    regularization: float,
    fold_in_regularization: float,
    validation_fraction: float,
    patience: int,
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Minimise the mean squared error of the known ratings with Adam, as the third notebook does.

    With a validation part the model is that of the epoch whose table predicts it best. The table's
    own user vectors measure it: where ``fold_in_regularization`` is ``regularization``, folding the
    same users in comes to nearly the same vectors, but would have to leave the GPU. Nothing is
    trained on the validation part afterwards; ``fold_in`` sees it as it sees every rating.

    An item without a rating to train on has zero factors and zero bias.

    Args:
        ratings: CSR [n_users, n_items] of known ratings.
        epochs: passes over the ratings; with a validation part the most of them.
        batch_size: ratings of one step. Larger ones cost the CPU as much and predict a little
            worse (1,024 instead of 128: RMSE up by 0.003); on a GPU they save launching steps.
        learning_rate: Adam's. The notebook's 1e-3 suits batches of 128, with biases too; let it
            grow with the square root of the batch, to 3e-3 at 1,024.
        biases: learn mu, b_u and b_i beside the vectors.
        regularization: L2 weight of each rating's vectors and biases in its own loss term.
        fold_in_regularization: lambda of the ridge that folds users in; the same quantity.
        validation_fraction: share of the ratings, drawn with the seed, that is held out of training
            to choose the epoch; 0: none, and the last epoch's model.
        patience: epochs without a better validation RMSE after which training stops.
        on_epoch: called with each epoch's mean batch loss.

    Raises:
        DeviceError: see ``resolve_device``.
        TrainingError: the factors are not finite, or no rating is left to train or validate on.
    """
    import torch

    chosen = resolve_device(device)
    data = MfData.create(ratings, biases=biases, validation_fraction=validation_fraction, seed=seed)
    # Drawn on the CPU: the same start and the same order on every device.
    generator = torch.Generator().manual_seed(seed)
    table = draw_table(data, n_factors, biases, generator)
    trainer: type[MfTraining] = CompiledTraining if chosen == "cpu" else TorchTraining
    training = trainer.create(table, data, n_factors, chosen)
    losses: list[float] = []
    best: _Epoch | None = None
    advice = f"lower train.mf.learning_rate (now {learning_rate:g})"
    for number in range(epochs):
        order = torch.randperm(len(data.training.targets), generator=generator, dtype=torch.int32)
        losses.append(training.run_epoch(order, batch_size, learning_rate, regularization))
        require_finite("mf", np.array(losses[-1]), after=f"epoch {number}", advice=advice)
        if on_epoch is not None:
            on_epoch(number, losses[-1])
        best = _choose_epoch(best, number, training)
        if number - best.number >= patience:
            break
    assert best is not None
    require_finite("mf", best.items, after=f"{len(losses)} epochs", advice=advice)
    model = _to_model(best.items, n_factors, data.global_mean, fold_in_regularization)
    return TrainedModel(model, losses, _to_figures(best, losses), device=chosen)


@dataclass(frozen=True)
class _Epoch:
    """What is kept of the epoch whose model is returned."""

    number: int
    items: Float32Array
    """Float32 [n_items, n_factors (+ 1: bias)]."""
    validation_rmse: float | None


def _choose_epoch(best: _Epoch | None, number: int, training: MfTraining) -> _Epoch:
    """The epoch just run where it is the best or none can be told from another, else ``best``."""
    rmse = training.measure_rmse()
    if best is None or rmse is None or best.validation_rmse is None or rmse < best.validation_rmse:
        return _Epoch(number, training.copy_items(), rmse)
    return best


def _to_model(
    items: Float32Array, n_factors: int, global_mean: float, fold_in_regularization: float
) -> MfModel:
    vectors = np.ascontiguousarray(items[:, :n_factors])
    item_bias = None if items.shape[1] == n_factors else np.ascontiguousarray(items[:, -1])
    return MfModel(vectors, item_bias, global_mean, fold_in_regularization)


def _to_figures(best: _Epoch, losses: list[float]) -> dict[str, float]:
    figures = {"train_mse": losses[best.number]}
    if best.validation_rmse is not None:
        figures |= {"validation_rmse": best.validation_rmse, "best_epoch": float(best.number)}
    return figures
