"""The split of ``evaluate.*``: which ratings training sees, and which are held out of it."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from jobs.errors import InputError
from jobs.settings.evaluate import EvaluateConfig
from recsys_core.arrays import Csr, Float64Array
from recsys_core.evaluation.splits import (
    Split,
    TimedRatings,
    hold_out_after,
    hold_out_at_random,
    hold_out_latest,
    hold_out_users,
)


def needs_times(config: EvaluateConfig, *, has_timestamp: bool) -> bool:
    """Whether the split goes by the ratings' times.

    Args:
        has_timestamp: whether the input has them.

    Raises:
        InputError: it does, and the input has none.
    """
    needed = config.split in ("latest", "time")
    if needed and not has_timestamp:
        raise InputError(
            f"evaluate.split = '{config.split}' needs the time of each rating, but "
            "input.ratings has no column of it: name one in input.columns.timestamp, or take "
            "another split"
        )
    return needed


def hold_out(ratings: TimedRatings, config: EvaluateConfig) -> Split:
    """The split of the settings.

    Raises:
        InputError: nothing is left on one of its sides.
    """
    split = _hold_out(ratings.matrix, ratings.times, config)
    if split.known.shape[0] == 0 or split.train.nnz == 0:
        raise InputError(
            f"evaluate.split = '{config.split}' leaves nothing to measure: no user has ratings on "
            "both of its sides; change evaluate.held_out, evaluate.latest or the split"
        )
    return split


def hold_out_twice(ratings: TimedRatings, config: EvaluateConfig) -> tuple[Split, Split]:
    """The split of the settings, and one like it within its training part: to choose by.

    What is chosen by the second is measured on the first without having seen it.

    Raises:
        InputError: as ``hold_out``.
    """
    outer = hold_out(ratings, config)
    inner_times = None
    if ratings.times is not None:
        # A split does not look at the ratings themselves: places in their stead say which are left.
        matrix = ratings.matrix
        places = csr_matrix(
            (np.arange(matrix.nnz, dtype=np.float64), matrix.indices, matrix.indptr), matrix.shape
        )
        left = _hold_out(places, ratings.times, config).train.data.astype(np.int64)
        inner_times = ratings.times[left]
    return outer, hold_out(replace(ratings, matrix=outer.train, times=inner_times), config)


def _hold_out(matrix: Csr, times: Float64Array | None, config: EvaluateConfig) -> Split:
    if config.split == "random":
        return hold_out_at_random(matrix, fraction=config.held_out, seed=config.seed)
    if config.split == "new_users":
        return hold_out_users(
            matrix, fraction=config.held_out, known_fraction=config.known, seed=config.seed
        )
    assert times is not None  # kept where ``needs_times``
    if config.split == "latest":
        return hold_out_latest(matrix, times, n=config.latest)
    return hold_out_after(matrix, times, fraction=config.held_out)
