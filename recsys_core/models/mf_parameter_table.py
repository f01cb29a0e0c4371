"""The table of mf's parameters: its start, the ratings as pairs of its rows, and how it is trained.

Users and items share one table, users first, so that one row is trained as any other.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from recsys_core.arrays import BoolArray, Csr, Float32Array, Int32Array
from recsys_core.errors import TrainingError

if TYPE_CHECKING:
    import torch

_NOTEBOOK_START = 0.05
"""Upper end of the uniform numbers that the third notebook's factors start from."""
_BIASED_START = 0.02
"""Standard deviation of the normal numbers that factors beside biases start from."""


@dataclass(frozen=True)
class TableRatings:
    """Ratings as pairs of rows of the table."""

    users: Int32Array
    """Int32 [n_ratings]."""
    items: Int32Array
    """Int32 [n_ratings]: n_users + item_index."""
    targets: Float32Array
    """Float32 [n_ratings]: the ratings less the global mean."""


@dataclass(frozen=True)
class MfData:
    """What is trained on, and what is held out of training to measure it."""

    training: TableRatings
    validation: TableRatings | None
    global_mean: float
    """Of the ratings trained on; 0 without biases."""
    n_users: int
    n_items: int

    @classmethod
    def create(cls, ratings: Csr, *, biases: bool, validation_fraction: float, seed: int) -> Self:
        """Hold out a share of the CSR ratings [n_users, n_items], drawn at random.

        Raises:
            TrainingError: there are too few ratings to hold out such a share.
        """
        pairs = ratings.tocoo()
        held = _draw_held(pairs.nnz, validation_fraction, seed)
        mean = float(pairs.data[~held].mean(dtype=np.float64)) if biases else 0.0

        def take(which: BoolArray) -> TableRatings:
            users = pairs.row[which].astype(np.int32, copy=False)
            items = pairs.col[which].astype(np.int32, copy=False) + np.int32(ratings.shape[0])
            return TableRatings(users, items, (pairs.data[which] - mean).astype(np.float32))

        return cls(take(~held), take(held) if held.any() else None, mean, *ratings.shape)


def _draw_held(n_ratings: int, fraction: float, seed: int) -> BoolArray:
    held = np.zeros(n_ratings, dtype=np.bool_)
    n_held = round(fraction * n_ratings)
    if fraction and not 0 < n_held < n_ratings:
        raise TrainingError(
            f"mf: train.mf.validation_fraction = {fraction:g} of {n_ratings} ratings are {n_held}; "
            "set it to 0, or train on more ratings"
        )
    held[np.random.default_rng(seed).choice(n_ratings, n_held, replace=False)] = True
    return held


def draw_table(
    data: MfData, n_factors: int, biases: bool, generator: "torch.Generator"
) -> Float32Array:
    """Where training starts: float32 [n_users + n_items, n_factors (+ 1: bias)].

    Without biases the factors have to make up the mean of the ratings, and start above zero as in
    the notebook. Beside biases they have only what the biases leave, of both signs: they start
    around zero, and near it, so that few ratings leave an item near its bias.

    A row without ratings is zero, and training leaves it there: such an item scores mu + b_u.
    """
    import torch

    table = torch.zeros(data.n_users + data.n_items, n_factors + biases)
    factors = table[:, :n_factors]
    if biases:
        factors.normal_(0, _BIASED_START, generator=generator)
    else:
        factors.uniform_(0, _NOTEBOOK_START, generator=generator)
    unrated = np.ones(len(table), dtype=np.bool_)
    unrated[data.training.users] = unrated[data.training.items] = False
    table[torch.from_numpy(unrated)] = 0
    start: Float32Array = table.numpy()
    return start


class MfTraining(ABC):
    """Training of the table by Adam (Kingma and Ba, ICLR 2015); holds the table and Adam's state.

    The loss of a batch is mean((p . q + b_u + b_i - r)^2 + L2). Its gradient is dense, as in the
    notebook: Adam keeps moving a parameter in steps whose batch does not touch it.
    """

    @classmethod
    @abstractmethod
    def create(cls, table: Float32Array, data: MfData, n_factors: int, device: str) -> Self:
        """Training that starts from ``table``, which it may change."""

    @abstractmethod
    def run_epoch(
        self,
        order: "torch.Tensor",
        batch_size: int,
        learning_rate: float,
        regularization: float,
    ) -> float:
        """One pass over all ratings in the ``order`` given, int32 [n_ratings].

        Returns:
            The mean of the batches' mean squared errors: batches count alike, also a short last
            one, as in the notebook.
        """

    @abstractmethod
    def measure_rmse(self) -> float | None:
        """Root mean square error of the validation ratings, if any, by the table's own users."""

    @abstractmethod
    def copy_items(self) -> Float32Array:
        """Float32 [n_items, n_factors (+ 1: bias)]."""
