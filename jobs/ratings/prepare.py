"""The recipe from rows as read to indexed ratings, the same for a night and for experiments."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame

from jobs.ratings.clean import CleanRatings, clean_ratings
from jobs.ratings.cleaning_rules import GivenItems
from jobs.ratings.funnel import require_few_refused
from jobs.ratings.gather import RowAccount, account_rows
from jobs.ratings.index import IndexedRatings, index_ratings
from jobs.ratings.recent import collect_candidates
from jobs.settings.clean import CleanConfig


@dataclass(frozen=True)
class PreparedRatings:
    """Ratings to train on, and what became of all others."""

    indexed: IndexedRatings
    clean: CleanRatings
    refused: dict[str, int]
    """As in ``RowAccount``."""
    candidates: pa.Table | None
    """Of ``collect_candidates``; None where none were wanted."""


def clean_and_index(
    rows: DataFrame,
    n_partitions: int,
    config: CleanConfig,
    *,
    given: GivenItems | None = None,
    keep_times: bool = False,
    n_recent: int = 0,
    stage: Callable[[str], AbstractContextManager[None]] = lambda part: nullcontext(),
    keep_refused: Callable[[RowAccount], None] = lambda account: None,
    keep_excluded: Callable[[CleanRatings], None] = lambda clean: None,
) -> PreparedRatings:
    """Account for the rows, clean them, and index what is left.

    Args:
        rows: ``RatingsInput.rows``; Spark is lazy, and reads them here.
        given: the items; None where the rules choose them.
        keep_times, n_recent: as of ``account_rows``.
        stage: what times the parts 'clean' and 'index'.
        keep_refused: writes down the refused rows, before anything can end the run.
        keep_excluded: writes down who and what was left out.

    Raises:
        InputError: the rules leave nothing, or more rows are refused than the settings allow.
    """
    with stage("clean"):
        account = account_rows(rows, n_partitions, keep_times=keep_times, n_recent=n_recent)
        keep_refused(account)
        clean = clean_ratings(account, config, given)
        require_few_refused(account.refused, clean.funnel[0].rows, config.max_bad_fraction)
        keep_excluded(clean)
    with stage("index"):
        indexed = index_ratings(clean.ratings, clean.items, given.index if given else None)
        candidates = collect_candidates(account.frame, n_recent) if n_recent else None
        account.frame.unpersist()  # from here on everything runs on the indexed ratings
    return PreparedRatings(indexed, clean, account.refused, candidates)
