"""Matrix factorization of the known ratings alone, r ~ p . q (+ mu + b_u + b_i), by Adam in torch.

Without biases it is the third notebook's model; with them that of Koren, Bell and Volinsky,
*Matrix Factorization Techniques for Recommender Systems*, IEEE Computer 42(8), 2009.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recsys_core.arrays import Csr, Float32Array, Float64Array
from recsys_core.csr import split_csr
from recsys_core.errors import DeviceError
from recsys_core.factor_model import Device, FactorModel, OnEpoch, TrainedModel, require_finite
from recsys_core.ridge import solve_ridge

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
    def _design(self) -> Float32Array:
        """Float32 [n_items, n_factors (+ 1)]: what the user's unknowns are multiplied with."""
        columns = self.vectors
        if self.item_bias is not None:
            columns = np.column_stack([self.vectors, np.ones(len(self.vectors))])
        # The compiled function knows arrays that can be written.
        return np.require(columns, np.float32, ["C", "W"])

    def fold_in(self, ratings: Csr) -> Float32Array:
        """(Q_o'Q_o + lambda n_o I) p = Q_o'(r - mu - b_o), the user's bias being p's last entry."""
        indptr, items, values = split_csr(ratings)
        residuals = values.astype(np.float64)
        if self.item_bias is not None:
            residuals -= self.global_mean + self.item_bias[items].astype(np.float64)
        return self._to_columns(
            solve_ridge(self._design, indptr, items, residuals, self.regularization)
        )

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
    with _small_steps(), torch.inference_mode():
        state = _MfState.create(ratings, n_factors, biases, seed, chosen)
        losses: list[float] = []
        advice = f"lower train.mf.learning_rate (now {learning_rate:g})"
        for epoch in range(epochs):
            losses.append(state.run_epoch(batch_size, learning_rate, regularization))
            require_finite("mf", np.array(losses[-1]), after=f"epoch {epoch}", advice=advice)
            if on_epoch is not None:
                on_epoch(epoch, losses[-1])
        model = state.to_model(fold_in_regularization)
    require_finite("mf", model.item_factors, after=f"{epochs} epochs", advice=advice)
    return TrainedModel(model, losses, {"train_mse": losses[-1]}, device=chosen)


@contextlib.contextmanager
def _small_steps() -> Iterator[None]:
    """Set the CPU up for steps of microseconds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)  # handing a step to other threads costs more than the step
    # Adam's averages of rarely rated items fade below 1e-38, where arithmetic is slow.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


def _split_batches(
    pairs: "torch.Tensor", values: "torch.Tensor", batch_size: int
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Batches of rows [2 * batch], users then items, and values [batch]; the last may be short.

    All full batches are cut at once: a slice for each would cost as much as its arithmetic.
    """
    n_full = len(values) // batch_size
    end = n_full * batch_size
    rows = (
        pairs[:, :end].view(2, n_full, batch_size).transpose(0, 1).reshape(n_full, 2 * batch_size)
    )
    yield from zip(rows.unbind(), values[:end].view(n_full, batch_size).unbind(), strict=True)
    if end < len(values):
        yield pairs[:, end:].reshape(-1), values[end:]


def _mean_of_batch_means(errors: "list[torch.Tensor]") -> float:
    """The notebook's loss of an epoch: batches count alike, also a short last one."""
    import torch

    *full, last = errors
    means = [last.square().mean().unsqueeze(0)]
    if full:
        means.append(torch.stack(full).square().mean(dim=1))
    return float(torch.cat(means).mean())  # the one GPU-to-CPU sync point of the epoch


@dataclass
class _MfState:
    """Ratings and parameters on the training device.

    Users and items share one table, users first: a step is then one gather, one scatter and one
    Adam update. Gradients are written out rather than recorded by autograd, as recording costs more
    than the arithmetic of vectors this short. They are dense, as in the notebook: Adam keeps moving
    a parameter in steps whose batch does not touch it.
    """

    users: "torch.Tensor"  # int64 [n_ratings], rows of the table
    items: "torch.Tensor"  # int64 [n_ratings], rows of the table: n_users + item_index
    values: "torch.Tensor"  # float32 [n_ratings], less the global mean
    table: "torch.Tensor"  # float32 [n_users + n_items, n_factors (+ 1: bias)]
    gradient: "torch.Tensor"  # as table
    moments: "tuple[torch.Tensor, torch.Tensor]"  # Adam's moving averages, as table
    step: "torch.Tensor"  # float32 scalar, Adam's step count
    ones: "torch.Tensor"  # float32 [n_factors (+ 1)]
    generator: "torch.Generator"
    n_users: int
    n_factors: int
    global_mean: float

    @classmethod
    def create(cls, ratings: Csr, n_factors: int, biases: bool, seed: int, device: str) -> Self:
        import torch

        coo = ratings.tocoo()
        mean = float(coo.data.mean(dtype=np.float64)) if biases else 0.0
        n_users, n_items = ratings.shape
        # Drawn on the CPU: the same start and the same order on every device.
        generator = torch.Generator().manual_seed(seed)
        table = torch.zeros(n_users + n_items, n_factors + biases)
        table[:, :n_factors].uniform_(0, 0.05, generator=generator)
        table = table.to(device)
        return cls(
            users=torch.from_numpy(coo.row.astype(np.int64)).to(device),
            items=torch.from_numpy(coo.col.astype(np.int64) + n_users).to(device),
            values=torch.from_numpy((coo.data - mean).astype(np.float32)).to(device),
            table=table,
            gradient=torch.zeros_like(table),
            moments=(torch.zeros_like(table), torch.zeros_like(table)),
            step=torch.zeros((), device=device),
            ones=torch.ones(n_factors + biases, device=device),
            generator=generator,
            n_users=n_users,
            n_factors=n_factors,
            global_mean=mean,
        )

    @property
    def has_biases(self) -> bool:
        return self.table.shape[1] > self.n_factors

    def run_epoch(self, batch_size: int, learning_rate: float, regularization: float) -> float:
        """One pass over all ratings in random order; the mean of its batches' losses."""
        import torch

        order = torch.randperm(len(self.values), generator=self.generator).to(self.values.device)
        pairs = torch.stack([self.users[order], self.items[order]])  # [2, n_ratings]
        errors = []
        for rows, values in _split_batches(pairs, self.values[order], batch_size):
            errors.append(self._backward(rows, values, regularization))
            self._update(learning_rate)
        return _mean_of_batch_means(errors)

    def _backward(
        self, rows: "torch.Tensor", values: "torch.Tensor", regularization: float
    ) -> "torch.Tensor":
        """Set the gradient of mean((p . q + b_u + b_i - r)^2 + L2); the errors [batch].

        Args:
            rows: [2 * batch], users then items.
            values: [batch].
        """
        import torch

        batch, biases = len(values), self.has_biases
        gathered = self.table.index_select(0, rows)  # [2 * batch, n_factors (+ 1)]
        p, q = gathered.chunk(2)
        products = p * q
        if biases:
            products[:, -1] = p[:, -1] + q[:, -1]
        error = torch.addmv(values, products, self.ones, beta=-1)  # row sums less values, [batch]
        # d/dp = 2 e q / batch, d/dq = 2 e p / batch, d/db = 2 e / batch
        slope = (error * (2.0 / batch)).unsqueeze_(1)  # [batch, 1]
        slopes = torch.cat([q * slope, p * slope])
        if biases:
            slopes[:batch, -1:] = slopes[batch:, -1:] = slope
        if regularization:
            slopes.add_(gathered, alpha=2.0 * regularization / batch)
        self.gradient.zero_().index_add_(0, rows, slopes)
        return error

    def _update(self, learning_rate: float) -> None:
        """One step of Adam (Kingma and Ba, 2015), with torch's default constants."""
        import torch

        # The operator behind torch.optim.Adam(fused=True), whose own bookkeeping takes longer than
        # this; the tests hold the two to the same trajectory.
        self.step.add_(1)
        torch._fused_adam_(
            [self.table],
            [self.gradient],
            [self.moments[0]],
            [self.moments[1]],
            [],
            [self.step],
            lr=learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=0.0,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def to_model(self, fold_in_regularization: float) -> MfModel:
        items = self.table[self.n_users :].cpu().numpy()
        vectors = np.ascontiguousarray(items[:, : self.n_factors])
        item_bias = np.ascontiguousarray(items[:, -1]) if self.has_biases else None
        return MfModel(vectors, item_bias, self.global_mean, fold_in_regularization)
