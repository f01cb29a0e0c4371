"""The nightly job, from ratings to published Parquet. Started by ``./spark-submit.sh nightly``."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from jobs.errors import OTHER, PUBLISHED, GateError, JobError, LockedError
from jobs.input.read_ratings import read_ratings
from jobs.machine.limits import describe_plan, read_limits, require_fit
from jobs.machine.plan import ModelNeeds, bound_training, make_plan, measure_input
from jobs.machine.preflight import check_cluster
from jobs.machine.session import choose_partitions
from jobs.night.audit_night import audit_night
from jobs.night.choices import Choices
from jobs.night.context import Night
from jobs.night.make_model import make_model
from jobs.night.manifest import make_manifest
from jobs.night.prepare_ratings import prepare_ratings, read_input
from jobs.night.release import Candidate, PublishedRun, release_run
from jobs.night.reuse import load_reused
from jobs.night.summary import pick_lists, print_summary
from jobs.night.write_items import write_items
from jobs.night.write_lists import write_lists, write_recent
from jobs.process.failures import explain_failures
from jobs.process.log import is_json_log, name_run
from jobs.process.stop import Stopped
from jobs.process.terminal import print_table
from jobs.report.content import RunItems
from jobs.runs.lock import hold_output, prepare_output
from jobs.runs.metastore import check_table
from jobs.runs.places import CURRENT
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.runs.status import FinalState, RunStatus
from jobs.settings.config import Config
from jobs.stages.cluster import describe_clusters
from jobs.stages.list_rules import describe_rules
from jobs.storage.base import Storage
from jobs.storage.open import open_storage
from jobs.tables.published import RECOMMENDATIONS
from recsys_core.query.saved_model import SavedModel

logger = logging.getLogger(__name__)


_NO_CHOICES = Choices()


def run_nightly(
    spark: SparkSession, config: Config, run_date: date, choices: Choices = _NO_CHOICES
) -> PublishedRun:
    """Read, clean, index, train, score, cluster, audit, judge and publish one night.

    With ``choices.reuse_model`` nothing is trained: the model is the current run's.

    Raises:
        JobError: the run ended without a change to what readers see.
    """
    storage = open_storage(spark, config.output.path)
    storage.check_writable()
    run = Run.start(run_date, datetime.now(UTC))
    name_run(run.run_id)
    logger.info("run %s", run.run_id)
    with _reported(storage, run) as status, hold_output(storage, run.run_id):
        prepare_output(storage)
        status.start()
        environment = check_cluster(spark)
        if config.publish.table is not None:
            check_table(spark, config.publish.table)
        staged = StagedRun(storage, run)
        try:
            night = Night(spark, config, choices, storage, staged, environment)
            candidate = _run_stages(night)
            published = release_run(
                spark, storage, candidate, choices, publish=config.publish, gate=config.gate
            )
        finally:
            staged.discard()  # what was kept has left the staging directory by then
            with contextlib.suppress(Py4JError, OSError):  # where the JVM has died, so has this
                spark.catalog.clearCache()
        rows = published.manifest["rows"][RECOMMENDATIONS.name]
        status.finish("published", PUBLISHED.code, directory=published.directory, rows=rows)
    if not is_json_log():
        print_summary(
            published.manifest,
            candidate.shown,
            output=config.output.path,
            run_directory=published.directory,
            has_link=storage.pointee(CURRENT) is not None,
        )
    return published


def plan_night(spark: SparkSession, config: Config, choices: Choices = _NO_CHOICES) -> None:
    """Print what the night would need; nothing is written.

    Raises:
        JobError: input or a model that cannot be read, or a night that cannot fit.
    """
    reused = None
    if choices.reuse_model:
        reused = load_reused(open_storage(spark, config.output.path), choices)
    source = read_ratings(spark, config.input, config.clean)
    n_partitions = choose_partitions(spark, config.spark, source.bytes)
    size = measure_input(source.rows)
    if reused is None:
        model = bound_training(size, config.train, evaluates=config.evaluates)
    else:
        size = replace(size, items=len(reused.saved.catalog))
        model = ModelNeeds(reused.parts)
    plan = make_plan(size, model, config.rules, k=config.score.k, n_partitions=n_partitions)
    limits = read_limits(spark)
    print_table(describe_plan(plan, limits))
    require_fit(plan, limits)


@contextlib.contextmanager
def _reported(storage: Storage, run: Run) -> Iterator[RunStatus]:
    """Say in ``status.json`` how the run ended, if it did not end well."""
    status = RunStatus(storage, run)
    states: dict[type, FinalState] = {LockedError: "locked", GateError: "rejected"}
    try:
        with explain_failures():
            yield status
    except JobError as error:
        status.finish(states.get(type(error), "failed"), error.exit_code, message=str(error))
        raise
    except Stopped as stopped:
        status.finish("failed", stopped.exit_code, message=str(stopped))
        raise
    except BaseException as error:
        status.finish("failed", OTHER.code, message=f"{type(error).__name__}: {error}")
        raise


def _run_stages(night: Night) -> Candidate:
    """Everything up to a staged run that passed its audit, stage by stage."""
    with night.clock.stage("read"):
        source = read_input(night)
    ratings = prepare_ratings(night, source)
    model = make_model(night, source, ratings)
    with night.clock.stage("cluster"):
        items = write_items(night, source, ratings, model)
    with night.clock.stage("score"):
        lists = write_lists(night, source, ratings, model, items)
    sampled_users = write_recent(night, source, ratings, lists)
    factors = model.trained.model
    with night.clock.stage("audit"):
        audit = audit_night(night, ratings, lists)
        shown = pick_lists(lists.frame, ratings.catalog)
        saved = SavedModel(factors, ratings.catalog, model.training)
        model_sha256 = night.staged.write_model(saved)
    manifest = make_manifest(
        night.spark,
        night.config,
        night.staged.run,
        files=source.files,
        funnel=ratings.funnel,
        refused=ratings.refused,
        evaluation=None if model.report is None else model.report.describe(),
        training=model.training,
        incremental=lists.incremental,
        clusters=describe_clusters(items, night.config.cluster),
        rules=describe_rules(lists.rules, source.rules, lists.effects),
        model_sha256=model_sha256,
        audit=audit.recommendations,
        excluded=audit.excluded,
        environment=night.environment,
        rows={RECOMMENDATIONS: audit.recommendations.rows, **night.staged.promised},
        n_partitions=ratings.plan.n_partitions,
        stage_seconds=night.clock.seconds,
    )
    return Candidate(
        night.staged,
        manifest,
        lists.frame,
        shown,
        RunItems(items.rows, factors.item_embeddings),
        bad_factors=factors.count_not_finite(),
        sampled_users=sampled_users,
    )
