"""Decide on a finished run: hold it to the gate, put it in its place, lead readers to it."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.night.choices import Choices
from jobs.night.summary import UserList
from jobs.process.clock import StageClock
from jobs.report.content import ReportData, RunItems, assemble_report
from jobs.report.counting.count_run import count_run
from jobs.report.counting.spark_tables import SparkTables
from jobs.report.page import REPORT, make_report
from jobs.report.statistics.history import list_earlier
from jobs.report.statistics.lists import score_range
from jobs.runs.current import find_lists, lead_readers
from jobs.runs.gate import (
    GateCheck,
    check_bounds,
    describe_failures,
    measure_overlap,
    require_passed,
)
from jobs.runs.records import RunRecord, list_runs, read_current
from jobs.runs.retention import remove_old_runs
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.settings.gate import GateConfig
from jobs.settings.publish import PublishConfig
from jobs.storage.base import Storage
from jobs.tables.published import EXCLUDED, RECENT_RATINGS, RECOMMENDATIONS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A staged run that passed its audit."""

    staged: StagedRun
    manifest: dict[str, Any]
    lists: DataFrame
    """The staged recommendations."""
    shown: list[UserList]
    items: RunItems
    bad_factors: int
    """Numbers among the item factors that are not finite."""
    sampled_users: list[Any]
    """Whose lists and ratings the report shows; empty where none is wanted."""


@dataclass(frozen=True)
class PublishedRun:
    """A whole run in its place."""

    run: Run
    directory: str
    manifest: dict[str, Any]
    is_current: bool
    """False for a run of an earlier date than the current one: a backfill moves no reader."""


def release_run(
    spark: SparkSession,
    storage: Storage,
    candidate: Candidate,
    choices: Choices,
    *,
    publish: PublishConfig,
    gate: GateConfig,
) -> PublishedRun:
    """Publish the candidate if the gate lets it; make it current unless it is a backfill.

    A backfill is compared with nothing: the current run is not the one before it.

    Raises:
        GateError: the run is in its place, marked as rejected, and ``current`` is unchanged.
    """
    run, clock = candidate.staged.run, StageClock(candidate.manifest["stage_seconds"])
    current = read_current(storage)
    leads = choices.promote or current is None or run.run_date >= current.run.run_date
    before = current if leads else None
    with clock.stage("gate"):
        lists_before = None if before is None else _read_lists(spark, storage, before.run)
        checks = _judge(gate, candidate, before, lists_before)
    failures = describe_failures(checks)
    rejected = bool(failures) and not choices.force
    manifest = {
        **candidate.manifest,
        "state": "rejected" if rejected else "published",
        "gate": _describe_gate(checks, before, forced=bool(failures) and choices.force),
        "report": None,
    }
    if publish.report:
        with clock.stage("report"):
            manifest["report"] = make_report(
                lambda: _describe_run(spark, storage, candidate, manifest, lists_before),
                lambda page: candidate.staged.write_page(REPORT, page),
            )
    with clock.stage("publish"):
        place = candidate.staged.keep(manifest)
        directory = f"{storage.root}/{place}"
        if leads and not rejected:
            lead_readers(spark, storage, run, publish.table)
        _remove_old_runs(publish, storage)
    if rejected:
        require_passed(checks, directory)
    if failures:
        logger.warning("published by --force, against the gate: %s", failures)
    if current is not None and not leads:
        logger.warning(
            "current stays at %s, whose date is later; --promote would move it", current.run_id
        )
    return PublishedRun(run, directory, manifest, leads)


def _read_lists(spark: SparkSession, storage: Storage, run: Run) -> DataFrame | None:
    """The recommendations of an earlier run; None, and a warning, where they are gone."""
    place = find_lists(run)
    if not storage.exists(place):
        logger.warning("%s is gone: lists are not compared with it", place)
        return None
    return spark.read.parquet(storage.uri(place))


def _describe_run(
    spark: SparkSession,
    storage: Storage,
    candidate: Candidate,
    manifest: dict[str, Any],
    lists_before: DataFrame | None,
) -> ReportData:
    """What the report of the candidate shows."""
    staged = {
        table: spark.read.parquet(candidate.staged.table_uri(table))
        for table in (EXCLUDED, RECENT_RATINGS)
    }
    counts = count_run(
        SparkTables({RECOMMENDATIONS: candidate.lists, **staged}),
        None if lists_before is None else SparkTables({RECOMMENDATIONS: lists_before}),
        limits=score_range(manifest),
        users=candidate.sampled_users,
    )
    earlier = list_earlier(list_runs(storage), candidate.staged.run)
    return assemble_report(manifest, candidate.items, counts, earlier)


def _judge(
    gate: GateConfig,
    candidate: Candidate,
    before: RunRecord | None,
    lists_before: DataFrame | None,
) -> list[GateCheck]:
    """Every bound of the gate; those that compare only where there is a run before."""
    overlap = None if lists_before is None else measure_overlap(candidate.lists, lists_before)
    return check_bounds(
        candidate.manifest,
        gate,
        bad_factors=candidate.bad_factors,
        before=None if before is None else before.manifest,
        overlap=overlap,
    )


def _describe_gate(
    checks: Sequence[GateCheck], before: RunRecord | None, *, forced: bool
) -> dict[str, Any]:
    """For the manifest."""
    return {
        "passed": all(check.passed for check in checks),
        "forced": forced,
        "compared_with": None if before is None else before.run_id,
        "checks": [asdict(check) for check in checks],
    }


def _remove_old_runs(publish: PublishConfig, storage: Storage) -> None:
    removed = remove_old_runs(
        storage,
        keep_runs=publish.keep_runs,
        keep_hours=publish.keep_hours,
        now=datetime.now(UTC),
    )
    if removed:
        logger.info("removed old runs: %s", ", ".join(removed))
