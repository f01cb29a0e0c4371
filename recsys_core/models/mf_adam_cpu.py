"""Adam for mf on a CPU: one compiled pass over the ratings, idle steps taken at once.

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
from typing import TYPE_CHECKING, Self

import numpy as np

from recsys_core.arrays import Float32, Float32Array, Float64Array, Int32Array
from recsys_core.compile.jit import compiled, compiled_sum
from recsys_core.models.mf_parameter_table import MfData, MfTraining

if TYPE_CHECKING:
    import torch

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_RHO = _BETA1 / _BETA2**0.5
_HORIZON = 512
"""Steps after which rho^j is nothing beside 1 in float64."""


# Places in the second axis of the rows: float32 [n_users + n_items, 4, n_factors (+ 1: bias)]. What
# a step does to one row lies together, as it would miss the cache once for each place otherwise.
_VALUE, _GRADIENT, _MEAN, _SQUARE = range(4)
"""The parameters, their gradient (zero between steps), Adam's m and its v."""

# Columns of the tables that say what step t of the epoch does, and what k idle ones do: float64
# [n_steps + 1, 3], t and k from 0.
_SIZE, _EPSILON_SIZE, _AHEAD = range(3)
"""size_t, epsilon * sqrt(1 - beta2^t), and the sum of rho^j size_(t+j) over all j >= 1."""
_RHO_DECAY, _MEAN_DECAY, _SQUARE_DECAY = range(3)
"""rho^k, beta1^k, beta2^k."""


@dataclass
class CompiledTraining(MfTraining):
    """The table beside Adam's state, row by row; compiled for the CPU."""

    rows: Float32Array
    data: MfData
    n_factors: int
    steps: int = 0

    @classmethod
    def create(cls, table: Float32Array, data: MfData, n_factors: int, device: str) -> Self:
        if device != "cpu":
            raise ValueError(f"compiled training runs on the CPU, not on {device!r}")
        rows = np.zeros((len(table), 4, table.shape[1]), dtype=np.float32)
        rows[:, _VALUE] = table
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
        of_step = _schedule_steps(self.steps, n_steps, learning_rate)
        self.steps += n_steps
        return _run_epoch(
            self.rows,
            of_step,
            _schedule_idle_steps(n_steps),
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
            self.rows, ratings.users, ratings.items, ratings.targets, self.n_factors
        )
        return float(np.sqrt(total / len(ratings.targets)))

    def copy_items(self) -> Float32Array:
        return self.rows[self.data.n_users :, _VALUE].copy()


def _schedule_steps(before: int, n_steps: int, learning_rate: float) -> Float64Array:
    """What each of ``n_steps`` does after ``before`` steps of earlier epochs."""
    numbers = np.arange(before, before + n_steps + _HORIZON, dtype=np.float64)
    correction = np.sqrt(-np.expm1(numbers * np.log(_BETA2)))
    with np.errstate(divide="ignore", invalid="ignore"):  # step 0 is never taken
        size = learning_rate * correction / -np.expm1(numbers * np.log(_BETA1))
    columns = [size, _EPSILON * correction, _sum_ahead(size)]
    return np.column_stack(columns)[: n_steps + 1].copy()


def _schedule_idle_steps(n_steps: int) -> Float64Array:
    """What up to ``n_steps`` idle ones do."""
    idle = np.arange(n_steps + 1, dtype=np.float64)
    return np.column_stack([_RHO**idle, _BETA1**idle, _BETA2**idle])


@compiled
def _sum_ahead(size: Float64Array) -> Float64Array:
    ahead = np.zeros_like(size)
    for t in range(len(size) - 2, -1, -1):
        ahead[t] = _RHO * (size[t + 1] + ahead[t + 1])
    return ahead


@compiled
def _run_epoch(
    rows: Float32Array,
    of_step: Float64Array,
    of_idle: Float64Array,
    users: Int32Array,
    items: Int32Array,
    targets: Float32Array,
    order: Int32Array,
    batch_size: int,
    regularization: float,
    n_factors: int,
) -> float:
    step, losses = 0, 0.0
    done = np.zeros(len(rows), np.int32)  # the steps that each row has taken
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        of_users, of_items = users[batch], items[batch]
        _catch_up(rows, done, of_step, of_idle, of_users, step)
        _catch_up(rows, done, of_step, of_idle, of_items, step)
        losses += _add_gradients(
            rows, of_users, of_items, targets[batch], regularization, n_factors
        )
        step += 1
        _take_step(rows, done, of_step, of_users, step)
        _take_step(rows, done, of_step, of_items, step)
    _catch_up(rows, done, of_step, of_idle, np.arange(len(rows), dtype=np.int32), step)
    return losses / step


@compiled
def _catch_up(
    rows: Float32Array,
    done: Int32Array,
    of_step: Float64Array,
    of_idle: Float64Array,
    which: Int32Array,
    step: int,
) -> None:
    """Take these rows' idle steps up to and with ``step``, all at once."""
    for row in which:
        since = done[row]
        idle = step - since
        if idle == 0:
            continue
        ahead = of_step[since, _AHEAD] - of_idle[idle, _RHO_DECAY] * of_step[step, _AHEAD]
        size, epsilon = np.float32(ahead), np.float32(of_step[since + 1, _EPSILON_SIZE])
        mean_decay = np.float32(of_idle[idle, _MEAN_DECAY])
        square_decay = np.float32(of_idle[idle, _SQUARE_DECAY])
        for column in range(rows.shape[2]):
            mean, square = rows[row, _MEAN, column], rows[row, _SQUARE, column]
            rows[row, _VALUE, column] -= size * mean / (np.sqrt(square) + epsilon)
            rows[row, _MEAN, column] = mean_decay * mean
            rows[row, _SQUARE, column] = square_decay * square
        done[row] = step


@compiled
def _add_gradients(
    rows: Float32Array,
    users: Int32Array,
    items: Int32Array,
    targets: Float32Array,
    regularization: float,
    n_factors: int,
) -> float:
    """Add the gradient of a batch's loss to its rows; its mean squared error.

    d/dp = 2 (e q + L2 p) / batch, d/dq = 2 (e p + L2 q) / batch, d/db = 2 (e + L2 b) / batch.
    """
    total = 0.0
    share = np.float32(2) / np.float32(len(targets))
    decay = share * np.float32(regularization)
    for at in range(len(targets)):
        user, item = users[at], items[at]
        error = _predict(rows, user, item, n_factors) - targets[at]
        total += error * error
        slope = share * error
        for column in range(n_factors):
            p, q = rows[user, _VALUE, column], rows[item, _VALUE, column]
            rows[user, _GRADIENT, column] += slope * q + decay * p
            rows[item, _GRADIENT, column] += slope * p + decay * q
        for column in range(n_factors, rows.shape[2]):  # the bias, where there is one
            rows[user, _GRADIENT, column] += slope + decay * rows[user, _VALUE, column]
            rows[item, _GRADIENT, column] += slope + decay * rows[item, _VALUE, column]
    return total / len(targets)


@compiled_sum
def _predict(rows: Float32Array, user: int, item: int, n_factors: int) -> Float32:
    score = np.float32(0)
    for column in range(n_factors):
        score += rows[user, _VALUE, column] * rows[item, _VALUE, column]
    for column in range(n_factors, rows.shape[2]):
        score += rows[user, _VALUE, column] + rows[item, _VALUE, column]
    return score


@compiled
def _take_step(
    rows: Float32Array, done: Int32Array, of_step: Float64Array, which: Int32Array, step: int
) -> None:
    """Adam's step with these rows' gradients, once for each row; zero the gradients."""
    size, epsilon = np.float32(of_step[step, _SIZE]), np.float32(of_step[step, _EPSILON_SIZE])
    old, new = np.float32(_BETA1), np.float32(1 - _BETA1)
    old_square, new_square = np.float32(_BETA2), np.float32(1 - _BETA2)
    for row in which:
        if done[row] == step:
            continue
        for column in range(rows.shape[2]):
            slope = rows[row, _GRADIENT, column]
            mean = old * rows[row, _MEAN, column] + new * slope
            square = old_square * rows[row, _SQUARE, column] + new_square * slope * slope
            rows[row, _VALUE, column] -= size * mean / (np.sqrt(square) + epsilon)
            rows[row, _MEAN, column] = mean
            rows[row, _SQUARE, column] = square
            rows[row, _GRADIENT, column] = np.float32(0)
        done[row] = step


@compiled
def _sum_squares(
    rows: Float32Array,
    users: Int32Array,
    items: Int32Array,
    targets: Float32Array,
    n_factors: int,
) -> float:
    total = 0.0
    for at in range(len(targets)):
        error = _predict(rows, users[at], items[at], n_factors) - targets[at]
        total += error * error
    return total
