"""Matrix factorization of the known ratings alone, r ~ p . q (+ mu + b_u + b_i), by Adam in torch.

Without biases it is the third notebook's model; with them that of Koren, Bell and Volinsky,
*Matrix Factorization Techniques for Recommender Systems*, IEEE Computer 42(8), 2009.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.linalg import lapack

from recsys_core.arrays import Csr, Float32Array, Float64Array
from recsys_core.errors import DeviceError
from recsys_core.factor_model import Device, FactorModel, OnEpoch, TrainedModel, require_finite

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MfModel(FactorModel):
    """Item vectors, optional biases, and the ridge regression that folds a user in.

    With biases the item columns are ``[q, b_i, 1]`` and the user's ``[p, 1, mu + b_u]``, so that
    the score is still one product. Without them both are the bare vectors.
    """

    kind: ClassVar[str] = "mf"
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
    def _design(self) -> Float64Array:
        """Float64 [n_items, n_factors (+ 1)]: what the user's unknowns are multiplied with."""
        if self.item_bias is None:
            return self.vectors.astype(np.float64)
        return np.column_stack([self.vectors, np.ones(len(self.vectors))]).astype(np.float64)

    def fold_in(self, ratings: Csr) -> Float32Array:
        """(Q_o'Q_o + lambda n_o I) p = Q_o'(r - mu - b_o), the user's bias being p's last entry."""
        residuals = ratings.data.astype(np.float64)
        if self.item_bias is not None:
            residuals -= self.global_mean + self.item_bias[ratings.indices].astype(np.float64)
        solved = np.zeros((ratings.shape[0], self._design.shape[1]))
        for row, (start, end) in enumerate(
            zip(ratings.indptr[:-1], ratings.indptr[1:], strict=True)
        ):
            rated = self._design[ratings.indices[start:end]]
            solved[row] = _solve_ridge(rated, residuals[start:end], self.regularization)
        return self._to_columns(solved)

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
        if item_bias is not None and item_bias.shape != (len(vectors),):
            raise ValueError(f"item_bias has shape {item_bias.shape}, expected ({len(vectors)},)")
        return cls(
            vectors, item_bias, float(arrays["global_mean"][0]), float(arrays["regularization"][0])
        )


def _solve_ridge(
    rated: Float64Array, residuals: Float64Array, regularization: float
) -> Float64Array:
    """Solve (A'A + lambda n I) p = A'r for one user: A float64 [n, n_factors], r float64 [n]."""
    gram = rated.T @ rated
    # A user without ratings still gets a regular system, whose solution is zero.
    gram[np.diag_indices_from(gram)] += regularization * max(len(rated), 1)
    _, solution, failed = lapack.dposv(gram, rated.T @ residuals)
    if failed:  # without regularization, fewer ratings than factors leave many solutions
        solution = np.linalg.lstsq(rated, residuals, rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)


def resolve_device(device: Device) -> str:
    """``cpu`` or ``cuda``, never a silent substitute for what was asked.

    Raises:
        DeviceError: ``cuda`` was asked for and torch finds no usable GPU.
    """
    import torch  # only the trainer needs torch

    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"train.device = 'cuda', but torch {torch.__version__} finds no GPU; "
            "set train.device to 'cpu' or 'auto', or install a CUDA build of torch and a driver"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


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
    seed: int,
    device: Device = "auto",
    on_epoch: OnEpoch | None = None,
) -> TrainedModel:
    """Minimise the mean squared error of the known ratings with Adam, as the third notebook does.

    Args:
        ratings: CSR [n_users, n_items] of known ratings.
        biases: learn mu, b_u and b_i beside the vectors.
        regularization: L2 weight of each rating's vectors and biases in its own loss term.
        fold_in_regularization: lambda of the ridge that folds users in.
        on_epoch: called with each epoch's mean batch loss.

    Raises:
        DeviceError: see ``resolve_device``.
        TrainingError: the factors are not finite.
    """
    import torch

    chosen = resolve_device(device)
    generator = torch.Generator().manual_seed(seed)
    state = _MfState.create(ratings, n_factors, biases, generator, chosen)
    optimizer = torch.optim.Adam(state.parameters(), lr=learning_rate, fused=True)
    losses: list[float] = []
    for epoch in range(epochs):
        losses.append(state.run_epoch(optimizer, batch_size, regularization, generator))
        advice = f"lower train.mf.learning_rate (now {learning_rate:g})"
        require_finite("mf", np.array(losses[-1]), after=f"epoch {epoch}", advice=advice)
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
    model = state.to_model(fold_in_regularization)
    advice = f"lower train.mf.learning_rate (now {learning_rate:g})"
    require_finite("mf", model.item_factors, after=f"{epochs} epochs", advice=advice)
    return TrainedModel(model, losses, {"train_mse": losses[-1]}, device=chosen)


def _make_table(
    n_rows: int, n_factors: int, biases: bool, generator: "torch.Generator", device: str
) -> "torch.Tensor":
    """Vectors from U(0, 0.05), as in the notebook, and a bias column of zeros; with a gradient."""
    import torch

    table = torch.zeros(n_rows, n_factors + biases)
    table[:, :n_factors].uniform_(0, 0.05, generator=generator)  # drawn on the CPU on every device
    table = table.to(device)
    table.grad = torch.zeros_like(table)
    return table


@dataclass
class _MfState:
    """Ratings and parameters on the training device.

    Gradients are written out rather than recorded by autograd: for vectors this short, recording
    costs more than the arithmetic. They are dense, as Adam's moving averages are in the notebook:
    a parameter keeps moving in steps whose batch does not touch it.
    """

    users: "torch.Tensor"  # int64 [n_ratings]
    items: "torch.Tensor"  # int64 [n_ratings]
    values: "torch.Tensor"  # float32 [n_ratings], less the global mean
    user_table: "torch.Tensor"  # float32 [n_users, n_factors (+ 1: bias)]
    item_table: "torch.Tensor"  # float32 [n_items, n_factors (+ 1: bias)]
    n_factors: int
    global_mean: float

    @classmethod
    def create(
        cls, ratings: Csr, n_factors: int, biases: bool, generator: "torch.Generator", device: str
    ) -> Self:
        import torch

        coo = ratings.tocoo()
        mean = float(coo.data.mean(dtype=np.float64)) if biases else 0.0
        n_users, n_items = ratings.shape
        return cls(
            users=torch.from_numpy(coo.row.astype(np.int64)).to(device),
            items=torch.from_numpy(coo.col.astype(np.int64)).to(device),
            values=torch.from_numpy((coo.data - mean).astype(np.float32)).to(device),
            user_table=_make_table(n_users, n_factors, biases, generator, device),
            item_table=_make_table(n_items, n_factors, biases, generator, device),
            n_factors=n_factors,
            global_mean=mean,
        )

    @property
    def has_biases(self) -> bool:
        return self.user_table.shape[1] > self.n_factors

    def parameters(self) -> list["torch.Tensor"]:
        return [self.user_table, self.item_table]

    def run_epoch(
        self,
        optimizer: "torch.optim.Optimizer",
        batch_size: int,
        regularization: float,
        generator: "torch.Generator",
    ) -> float:
        """One pass over all ratings in random order; the mean of its batches' losses."""
        import torch

        order = torch.randperm(len(self.values), generator=generator).to(self.values.device)
        users, items, values = self.users[order], self.items[order], self.values[order]
        total = torch.zeros((), device=values.device)
        starts = range(0, len(values), batch_size)
        for start in starts:
            batch = slice(start, start + batch_size)
            total += self._backward(users[batch], items[batch], values[batch], regularization)
            optimizer.step()
        return float(total) / len(starts)  # the one GPU-to-CPU sync point of the epoch

    def _backward(
        self,
        users: "torch.Tensor",  # [batch]
        items: "torch.Tensor",  # [batch]
        values: "torch.Tensor",  # [batch]
        regularization: float,
    ) -> "torch.Tensor":
        """Set the gradients of mean((p . q + b_u + b_i - r)^2 + L2); the mean squared error."""
        p, q = self.user_table[users], self.item_table[items]  # [batch, n_factors (+ 1)]
        products = p * q
        if self.has_biases:
            products[:, -1] = p[:, -1] + q[:, -1]
        error = products.sum(dim=1) - values  # [batch]
        scaled = (error * (2.0 / len(values)))[:, None]
        user_step, item_step = scaled * q, scaled * p
        if self.has_biases:
            user_step[:, -1:] = scaled
            item_step[:, -1:] = scaled
        if regularization:
            weight = 2.0 * regularization / len(values)
            user_step += weight * p
            item_step += weight * q
        for table, rows, step in (
            (self.user_table, users, user_step),
            (self.item_table, items, item_step),
        ):
            assert table.grad is not None
            table.grad.zero_().index_add_(0, rows, step)
        return error.square().mean()

    def to_model(self, fold_in_regularization: float) -> MfModel:
        table = self.item_table.detach().cpu().numpy()
        vectors = np.ascontiguousarray(table[:, : self.n_factors])
        item_bias = np.ascontiguousarray(table[:, -1]) if self.has_biases else None
        return MfModel(vectors, item_bias, self.global_mean, fold_in_regularization)
