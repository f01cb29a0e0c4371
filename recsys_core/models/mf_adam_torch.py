"""Adam for mf in torch: data, table and Adam's state stay on the device."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from recsys_core.arrays import Float32Array
from recsys_core.models.mf_parameter_table import MfData, MfTraining, TableRatings

if TYPE_CHECKING:
    import torch

_MEASURED = 1 << 16
"""Validation ratings whose rows are gathered at once: what bounds memory."""


@dataclass
class TorchTraining(MfTraining):
    """Tensors of the training device.

    Users and items sharing one table, a step is one gather, one scatter and one Adam update.
    Gradients are written out rather than recorded by autograd, as recording costs more than the
    arithmetic of vectors this short.
    """

    pairs: "torch.Tensor"  # int32 [2, n_ratings], rows of the table: users, then items
    targets: "torch.Tensor"  # float32 [n_ratings]
    validation: "tuple[torch.Tensor, torch.Tensor] | None"  # as pairs and targets
    table: "torch.Tensor"  # float32 [n_users + n_items, n_factors (+ 1: bias)]
    gradient: "torch.Tensor"  # as table
    moments: "tuple[torch.Tensor, torch.Tensor]"  # Adam's moving averages, as table
    step: "torch.Tensor"  # float32 scalar, Adam's step count
    n_users: int
    n_factors: int

    @classmethod
    def create(cls, table: Float32Array, data: MfData, n_factors: int, device: str) -> Self:
        import torch

        pairs, targets = _to_device(data.training, device)
        parameters = torch.from_numpy(table).to(device)
        return cls(
            pairs=pairs,
            targets=targets,
            validation=None if data.validation is None else _to_device(data.validation, device),
            table=parameters,
            gradient=torch.zeros_like(parameters),
            moments=(torch.zeros_like(parameters), torch.zeros_like(parameters)),
            step=torch.zeros((), device=device),
            n_users=data.n_users,
            n_factors=n_factors,
        )

    def run_epoch(
        self,
        order: "torch.Tensor",
        batch_size: int,
        learning_rate: float,
        regularization: float,
    ) -> float:
        import torch

        with torch.inference_mode():
            order = order.to(self.targets.device)
            pairs, targets = self.pairs.index_select(1, order), self.targets.index_select(0, order)
            errors = []
            for rows, of_batch in _split_batches(pairs, targets, batch_size):
                errors.append(self._backward(rows, of_batch, regularization))
                self._update(learning_rate)
            return _mean_of_batch_means(errors)

    def _backward(
        self, rows: "torch.Tensor", targets: "torch.Tensor", regularization: float
    ) -> "torch.Tensor":
        """Set the gradient; the errors [batch].

        Args:
            rows: [2 * batch], users then items.
            targets: [batch].
        """
        import torch

        batch = len(targets)
        gathered = self.table.index_select(0, rows)  # [2 * batch, n_factors (+ 1)]
        p, q = gathered.chunk(2)
        error = self._predict(p, q).sub_(targets)
        # d/dp = 2 e q / batch, d/dq = 2 e p / batch, d/db = 2 e / batch
        slope = (error * (2.0 / batch)).unsqueeze_(1)  # [batch, 1]
        slopes = torch.cat([q * slope, p * slope])
        if self.has_biases:
            slopes[:batch, -1:] = slopes[batch:, -1:] = slope
        if regularization:
            slopes.add_(gathered, alpha=2.0 * regularization / batch)
        self.gradient.zero_().index_add_(0, rows, slopes)
        return error

    @property
    def has_biases(self) -> bool:
        return self.table.shape[1] > self.n_factors

    def _predict(self, p: "torch.Tensor", q: "torch.Tensor") -> "torch.Tensor":
        """p . q + b_u + b_i of each pair, [batch], from rows [batch, n_factors (+ 1)]."""
        products = p * q
        if self.has_biases:
            products[:, -1] = p[:, -1] + q[:, -1]
        return products.sum(dim=1)

    def _update(self, learning_rate: float) -> None:
        """One step of Adam with torch's default constants."""
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

    def measure_rmse(self) -> float | None:
        import torch

        if self.validation is None:
            return None
        pairs, targets = self.validation
        total = torch.zeros((), dtype=torch.float64, device=targets.device)
        for start in range(0, len(targets), _MEASURED):
            part = slice(start, start + _MEASURED)
            p, q = (self.table.index_select(0, rows) for rows in pairs[:, part])
            total += (self._predict(p, q) - targets[part]).square().sum(dtype=torch.float64)
        return float((total / len(targets)).sqrt())  # the one GPU-to-CPU sync point

    def copy_items(self) -> Float32Array:
        items: Float32Array = self.table[self.n_users :].to("cpu", copy=True).numpy()
        return items


def _to_device(ratings: TableRatings, device: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """Pairs int32 [2, n_ratings] and targets float32 [n_ratings]."""
    import torch

    pairs = torch.stack([torch.from_numpy(ratings.users), torch.from_numpy(ratings.items)])
    return pairs.to(device), torch.from_numpy(ratings.targets).to(device)


def _split_batches(
    pairs: "torch.Tensor", targets: "torch.Tensor", batch_size: int
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """Batches of rows [2 * batch], users then items, and targets [batch]; the last may be short.

    All full batches are cut at once: a slice for each would cost as much as its arithmetic.
    """
    n_full = len(targets) // batch_size
    end = n_full * batch_size
    rows = (
        pairs[:, :end].view(2, n_full, batch_size).transpose(0, 1).reshape(n_full, 2 * batch_size)
    )
    yield from zip(rows.unbind(), targets[:end].view(n_full, batch_size).unbind(), strict=True)
    if end < len(targets):
        yield pairs[:, end:].reshape(-1), targets[end:]


def _mean_of_batch_means(errors: "list[torch.Tensor]") -> float:
    """The notebook's loss of an epoch: batches count alike, also a short last one."""
    import torch

    *full, last = errors
    means = [last.square().mean().unsqueeze(0)]
    if full:
        means.append(torch.stack(full).square().mean(dim=1))
    return float(torch.cat(means).mean())  # the one GPU-to-CPU sync point of the epoch
