"""Bring the ratings to the driver as flat arrays and train the configured model there."""

import logging
from typing import Any

import numpy as np
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix
from tqdm import tqdm

from jobs.errors import MachineError, TrainingFailedError
from jobs.process.clock import is_json_log
from jobs.process.terminal import on_terminal
from jobs.ratings.user_rows import to_matrix
from jobs.settings.config import TrainConfig
from jobs.tables.published import ITEM_INDEX, PIECE_NUMBER, RATING, TIMES, USER_ID
from recsys_core.errors import DeviceError, TrainingError
from recsys_core.evaluation.splits import TimedRatings
from recsys_core.models.base import TrainedModel
from recsys_core.models.registry import MODELS

logger = logging.getLogger(__name__)

_LOG_LINES = 12
"""Lines a training run leaves in a log that is not a terminal."""
_ROUNDS = ("epochs", "iterations", "max_iter")
"""Settings that say how often a trainer reports at most; one without them reports once."""


def collect_ratings(
    ratings: DataFrame, n_items: int, *, max_users: int | None = None, seed: int = 0
) -> TimedRatings:
    """The indexed ratings as one matrix.

    Rows are users in ascending order of id and columns are sorted, so the matrix does not depend on
    the partitioning. The ratings cross as Arrow columns, never as Python rows.

    Args:
        max_users: take the ratings of so many users at most, those with the lowest hash of ``seed``
            and id; all where None.
    """
    if max_users is not None:
        ratings = _draw_users(ratings, max_users, seed)
    times = [TIMES] if TIMES in ratings.columns else []
    table = ratings.select(USER_ID, PIECE_NUMBER, ITEM_INDEX, RATING, *times).toArrow()
    order = pc.sort_indices(table, sort_keys=[(USER_ID, "ascending"), (PIECE_NUMBER, "ascending")])
    table = table.take(order)
    _, matrix = to_matrix(table, n_items)
    n_unrated = int(np.count_nonzero(np.bincount(matrix.indices, minlength=n_items) == 0))
    if n_unrated:
        logger.warning(
            "train.max_users = %s: %s of %s items have no rating by the users drawn, and will "
            "hardly be recommended",
            *(f"{count:,}" for count in (max_users or 0, n_unrated, n_items)),
        )
    return TimedRatings(matrix, pc.list_flatten(table.column(TIMES)).to_numpy() if times else None)


def _draw_users(ratings: DataFrame, max_users: int, seed: int) -> DataFrame:
    """The rows of ``max_users`` users; the draw depends on their ids and the seed alone."""
    by_hash = F.xxhash64(F.lit(seed), USER_ID)
    first = ratings.where(F.col(PIECE_NUMBER) == 0).select(by_hash.alias("hash"))
    last = first.orderBy("hash").limit(max_users).agg(F.max("hash")).collect()[0][0]
    return ratings.where(by_hash <= last)


def train_model(ratings: csr_matrix, config: TrainConfig, *, quiet: bool = False) -> TrainedModel:
    """Train ``config.model`` with its section of settings.

    Args:
        quiet: say nothing of how training goes on, and where.

    Raises:
        MachineError: the configured device is not there.
        TrainingFailedError: training left no usable model.
    """
    settings = getattr(config, config.model).model_dump()
    total = next((settings[name] for name in _ROUNDS if name in settings), 1)
    with _Progress(config.model, total, quiet=quiet) as progress:
        try:
            trained = MODELS[config.model].train(
                ratings,
                seed=config.seed,
                device=config.device,
                on_epoch=progress.update,
                **settings,
            )
        except DeviceError as error:
            raise MachineError(str(error)) from None
        except TrainingError as error:
            raise TrainingFailedError(f"training failed: {error}") from None
    if not quiet:
        logger.info(
            "trained %s on %s (train.device = '%s')", config.model, trained.device, config.device
        )
    return trained


class _Progress:
    """A bar on a terminal; a dozen log lines elsewhere."""

    def __init__(self, label: str, total: int, *, quiet: bool) -> None:
        self._label, self._total, self._quiet = label, total, quiet
        self._bar: Any = None
        if not quiet and on_terminal() and not is_json_log():
            self._bar = tqdm(total=total, desc=f"train {label}", unit="epoch", leave=False)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, epoch: int, loss: float) -> None:
        if self._bar is not None:
            self._bar.update()
            self._bar.set_postfix(loss=f"{loss:.4f}")
        elif not self._quiet and epoch % max(1, self._total // _LOG_LINES) == 0:
            logger.info(
                "train %s: epoch %d of at most %d, loss %.4f", self._label, epoch, self._total, loss
            )
