"""Train the configured model on the driver, and say how it goes."""

import logging
from typing import Any

from scipy.sparse import csr_matrix
from tqdm import tqdm

from jobs.errors import MachineError, TrainingFailedError
from jobs.process.log import is_json_log
from jobs.process.terminal import on_terminal
from jobs.settings.train import TrainConfig
from recsys_core.errors import DeviceError, TrainingError
from recsys_core.models.base import TrainedModel
from recsys_core.models.registry import MODELS

logger = logging.getLogger(__name__)

_LOG_LINES = 12
"""Lines a training run leaves in a log that is not a terminal."""


def train_model(ratings: csr_matrix, config: TrainConfig, *, quiet: bool = False) -> TrainedModel:
    """Train ``config.model`` with its section of settings.

    Args:
        quiet: say nothing of how training goes on, and where.

    Raises:
        MachineError: the configured device is not there.
        TrainingFailedError: training left no usable model.
    """
    kind, settings = MODELS[config.model], config.settings_of(config.model)
    total = 1 if kind.rounds is None else settings[kind.rounds]
    with _Progress(config.model, total, quiet=quiet) as progress:
        try:
            trained = kind.train(
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
