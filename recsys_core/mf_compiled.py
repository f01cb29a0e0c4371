"""Training of mf on a CPU: one compiled pass over the ratings, Adam's idle steps taken at once.

Adam with a dense gradient moves every parameter in every step, which costs hundreds of times what
the batch itself does. But while a row is in no batch its gradient is zero, and k steps of zero
gradient have a closed form. With m and v as the moments before them, t the steps done, and
rho = beta1 / sqrt(beta2):

    m_j = beta1^j m,  v_j = beta2^j v
    p_k = p - m / sqrt(v) * sum(rho^j size_(t+j) for j in 1..k)
    size_t = learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t)

The sum depends on t and k alone. So a row is brought up to date when a batch needs it and once at
the end of the epoch, and the trajectory is that of the dense steps. (Adam adds epsilon = 1e-8 to
sqrt(v); here it fades in idle steps as sqrt(v) does, which no float32 number shows.)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from recsys_core.arrays import Float32, Float32Array, Float64Array, Int32Array
from recsys_core.compiled import compiled, compiled_sum
from recsys_core.mf_table import MfData, MfTraining

if TYPE_CHECKING:
    import torch

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_RHO = _BETA1 / _BETA2**0.5
_HORIZON = 512
"""Steps after which rho^j is nothing beside 1 in float64."""


class _Rows(NamedTuple):
    """The table and Adam's state, [n_users + n_items, n_factors (+ 1: bias)] each."""

    table: Float32Array
    gradient: Float32Array
    """Zero between steps."""
    mean: Float32Array
    """Moving average of the gradient: Adam's m."""
    square: Float32Array
    """Moving average of its square: Adam's v."""
    done: Int32Array
    """Int32 [n_users + n_items]: the row's steps of this epoch that are in the arrays above."""


class _Schedule(NamedTuple):
    """What a step does by its number t in the epoch, and what k idle ones do; t, k from 0."""

    size: Float64Array
    """learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t)."""
    epsilon: Float64Array
    """epsilon * sqrt(1 - beta2^t)."""
    ahead: Float64Array
    """Sum of rho^j size_(t+j) over all j >= 1."""
    rho: Float64Array
    """rho^k."""
    mean_decay: Float64Array
    """beta1^k."""
    square_decay: Float64Array
    """beta2^k."""


@dataclass
class CompiledTraining(MfTraining):
    """Arrays of the CPU; see the module for what is done to them."""

    rows: _Rows
    data: MfData
    n_factors: int
    steps: int = 0

    @classmethod
    def create(cls, table: Float32Array, data: MfData, n_factors: int, device: str) -> Self:
        if device != "cpu":
            raise ValueError(f"compiled training runs on the CPU, not on {device!r}")
        rows = _Rows(
            table=table,
            gradient=np.zeros_like(table),
            mean=np.zeros_like(table),
            square=np.zeros_like(table),
            done=np.zeros(len(table), dtype=np.int32),
        )
        return cls(rows, data, n_factors)

    def run_epoch(
        self,
        order: "torch.Tensor",
        batch_size: int,
        learning_rate: float,
        regularization: float,
    ) -> float:
        ratings = self.data.training
        n_steps = -(-len(ratings.targets) // batch_size)
        schedule = _make_schedule(self.steps, n_steps, learning_rate)
        self.steps += n_steps
        return _run_epoch(
            self.rows,
            schedule,
            ratings.users,
            ratings.items,
            ratings.targets,
            order.numpy(),
            batch_size,
            regularization,
            self.n_factors,
        )

    def measure_rmse(self) -> float | None:
        ratings = self.data.validation
        if ratings is None:
            return None
        total = _sum_squares(
            self.rows.table, ratings.users, ratings.items, ratings.targets, self.n_factors
        )
        return float(np.sqrt(total / len(ratings.targets)))

    def copy_items(self) -> Float32Array:
        return self.rows.table[self.data.n_users :].copy()


def _make_schedule(before: int, n_steps: int, learning_rate: float) -> _Schedule:
    """The schedule of ``n_steps`` after ``before`` steps of earlier epochs."""
    numbers = np.arange(before, before + n_steps + _HORIZON, dtype=np.float64)
    correction = np.sqrt(-np.expm1(numbers * np.log(_BETA2)))
    with np.errstate(divide="ignore", invalid="ignore"):  # step 0 is never taken
        size = learning_rate * correction / -np.expm1(numbers * np.log(_BETA1))
    idle = np.arange(n_steps + 1, dtype=np.float64)
    return _Schedule(
        size, _EPSILON * correction, _sum_ahead(size), _RHO**idle, _BETA1**idle, _BETA2**idle
    )


@compiled
def _sum_ahead(size: Float64Array) -> Float64Array:
    ahead = np.zeros_like(size)
    for t in range(len(size) - 2, -1, -1):
        ahead[t] = _RHO * (size[t + 1] + ahead[t + 1])
    return ahead


@compiled
def _run_epoch(
    rows: _Rows,
    schedule: _Schedule,
    users: Int32Array,
    items: Int32Array,
    targets: Float32Array,
    order: Int32Array,
    batch_size: int,
    regularization: float,
    n_factors: int,
) -> float:
    step, losses = 0, 0.0
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        total = 0.0
        for rating in batch:
            user, item = users[rating], items[rating]
            _catch_up(rows, schedule, user, step)
            _catch_up(rows, schedule, item, step)
            error = _predict(rows.table, user, item, n_factors) - targets[rating]
            _add_gradient(rows, user, item, error, regularization, len(batch), n_factors)
            total += error * error
        step += 1
        for rating in batch:
            _take_step(rows, schedule, users[rating], step)
            _take_step(rows, schedule, items[rating], step)
        losses += total / len(batch)
    for row in range(len(rows.table)):
        _catch_up(rows, schedule, row, step)
        rows.done[row] = 0
    return losses / step


@compiled_sum
def _predict(table: Float32Array, user: int, item: int, n_factors: int) -> Float32:
    p, q = table[user], table[item]
    score = np.float32(0)
    for column in range(n_factors):
        score += p[column] * q[column]
    for column in range(n_factors, len(p)):  # the bias, where there is one
        score += p[column] + q[column]
    return score


@compiled
def _add_gradient(
    rows: _Rows,
    user: int,
    item: int,
    error: Float32,
    regularization: float,
    n_batch: int,
    n_factors: int,
) -> None:
    """d/dp = 2 (e q + L2 p) / batch, d/dq = 2 (e p + L2 q) / batch, d/db = 2 (e + L2 b) / batch."""
    p, q = rows.table[user], rows.table[item]
    to_p, to_q = rows.gradient[user], rows.gradient[item]
    slope = np.float32(2) / np.float32(n_batch) * error
    decay = np.float32(2) / np.float32(n_batch) * np.float32(regularization)
    for column in range(n_factors):
        to_p[column] += slope * q[column] + decay * p[column]
        to_q[column] += slope * p[column] + decay * q[column]
    for column in range(n_factors, len(p)):
        to_p[column] += slope + decay * p[column]
        to_q[column] += slope + decay * q[column]


@compiled
def _catch_up(rows: _Rows, schedule: _Schedule, row: int, step: int) -> None:
    """Take the row's idle steps up to and with ``step`` at once."""
    done = rows.done[row]
    idle = step - done
    if idle <= 0:
        return
    distance = np.float32(schedule.ahead[done] - schedule.rho[idle] * schedule.ahead[step])
    mean_decay = np.float32(schedule.mean_decay[idle])
    square_decay = np.float32(schedule.square_decay[idle])
    epsilon = np.float32(schedule.epsilon[done + 1])
    values, mean, square = rows.table[row], rows.mean[row], rows.square[row]
    for column in range(len(values)):
        values[column] -= distance * mean[column] / (np.sqrt(square[column]) + epsilon)
        mean[column] *= mean_decay
        square[column] *= square_decay
    rows.done[row] = step


@compiled
def _take_step(rows: _Rows, schedule: _Schedule, row: int, step: int) -> None:
    """Adam's step with the row's gradient, unless the row has taken it; zero the gradient."""
    if rows.done[row] == step:
        return
    size, epsilon = np.float32(schedule.size[step]), np.float32(schedule.epsilon[step])
    old, new = np.float32(_BETA1), np.float32(1 - _BETA1)
    old_square, new_square = np.float32(_BETA2), np.float32(1 - _BETA2)
    values, gradient = rows.table[row], rows.gradient[row]
    mean, square = rows.mean[row], rows.square[row]
    for column in range(len(values)):
        slope = gradient[column]
        mean[column] = old * mean[column] + new * slope
        square[column] = old_square * square[column] + new_square * slope * slope
        values[column] -= size * mean[column] / (np.sqrt(square[column]) + epsilon)
        gradient[column] = 0
    rows.done[row] = step


@compiled
def _sum_squares(
    table: Float32Array,
    users: Int32Array,
    items: Int32Array,
    targets: Float32Array,
    n_factors: int,
) -> float:
    total = 0.0
    for rating in range(len(targets)):
        error = _predict(table, users[rating], items[rating], n_factors) - targets[rating]
        total += error * error
    return total
