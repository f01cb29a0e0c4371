"""The nightly job, from ratings to published Parquet. Started by ``./spark-submit.sh nightly``."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from jobs.account import RowAccount, account_rows
from jobs.audit import audit_columns, audit_excluded, audit_recommendations, audit_rows
from jobs.catalog import make_catalog
from jobs.choices import Choices
from jobs.clean import CleanRatings, clean_ratings, require_few_refused
from jobs.cluster import (
    EarlierClusters,
    describe_clusters,
    label_items,
    list_item_factors,
    list_similar_items,
    read_earlier_clusters,
)
from jobs.config import Config, PublishConfig
from jobs.errors import GateError, JobError, LockedError
from jobs.evaluate import needs_times
from jobs.failures import explain_failures
from jobs.index import index_ratings
from jobs.manifest import make_manifest
from jobs.metastore import check_table
from jobs.night_lists import choose_users, write_lists
from jobs.night_model import load_reused, make_model, reuse_model, take_items
from jobs.plan import (
    InputSize,
    describe_plan,
    make_plan,
    measure_input,
    read_limits,
    require_fit,
)
from jobs.preflight import check_cluster
from jobs.publish import CURRENT, StagedRun
from jobs.read import read_items, read_ratings
from jobs.recent import collect_candidates, list_recent
from jobs.release import Candidate, PublishedRun, release_run
from jobs.report_counts import sample_users
from jobs.report_data import RunItems
from jobs.rules import describe_rules, find_allowed, make_rules, read_rules
from jobs.run_id import Run
from jobs.runs import find_current, hold_output, prepare_output
from jobs.schemas import (
    EVALUATION,
    EXCLUDED,
    ITEM_CLUSTERS,
    ITEM_FACTORS,
    ITEM_ID,
    RECENT_RATINGS,
    RECOMMENDATIONS,
    SCORED_USERS,
    SIMILAR_ITEMS,
    USER_FACTORS,
    USER_ID,
    Table,
    id_type_name,
)
from jobs.score import fold_in_users
from jobs.session import choose_partitions
from jobs.stages import StageClock, is_json_log, name_run
from jobs.status import FinalState, RunStatus
from jobs.storage import Storage, open_storage
from jobs.summary import pick_lists, print_summary, print_table
from recsys_core.arrays import Int32Array
from recsys_core.factor_model import FactorModel
from recsys_core.model_format import ItemCatalog, SavedModel

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
            candidate = _run_stages(spark, config, storage, staged, environment, choices)
            published = release_run(spark, config, storage, candidate, choices)
        finally:
            staged.discard()  # what was kept has left the staging directory by then
            spark.catalog.clearCache()
        rows = published.manifest["rows"][RECOMMENDATIONS.name]
        status.finish("published", 0, directory=published.directory, rows=rows)
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
        plan = make_plan(size, config, n_partitions)
    else:
        size = replace(size, items=len(reused.saved.catalog))
        plan = make_plan(size, config, n_partitions, reused.n_columns)
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
    except BaseException as error:
        status.finish("failed", 1, message=f"{type(error).__name__}: {error}")
        raise


def _run_stages(
    spark: SparkSession,
    config: Config,
    storage: Storage,
    staged: StagedRun,
    environment: dict[str, Any],
    choices: Choices,
) -> Candidate:
    clock = StageClock()
    with clock.stage("read"):
        reused = load_reused(storage, choices)
        source = read_ratings(spark, config.input, config.clean)
        item_id_type = source.rows.schema[ITEM_ID].dataType
        id_type = id_type_name(item_id_type)
        items = read_items(spark, config.input, id_type)
        named = read_rules(spark, config.input, config.rules, items.items["genres"], id_type)
        given = None if reused is None else take_items(reused, config, id_type)
    with clock.stage("clean"):  # Spark is lazy: the rows are read here
        n_partitions = choose_partitions(spark, config.spark, source.bytes)
        keep_times = (
            reused is None
            and config.evaluates
            and needs_times(config.evaluate, has_timestamp=source.has_timestamp)
        )
        account = account_rows(
            source.rows, n_partitions, keep_times=keep_times, keep_recent=config.publish.report
        )
        _keep_refused(staged, account)
        clean = clean_ratings(account, config.clean, given)
        require_few_refused(account.refused, clean.funnel[0].rows, config.clean.max_bad_fraction)
        _keep_excluded(staged, clean)
    with clock.stage("index"):
        indexed = index_ratings(clean.ratings, clean.items, given.index if given else None)
        candidates = collect_candidates(account.frame) if config.publish.report else None
        account.frame.unpersist()  # from here on everything runs on the indexed ratings
        catalog = make_catalog(indexed, clean.excluded_items, items.items)
        allowed = find_allowed(named, catalog)
    size = InputSize(clean.funnel[-1].rows, clean.funnel[-1].users, len(catalog))
    plan = make_plan(size, config, n_partitions, reused.n_columns if reused else None)
    require_fit(plan, read_limits(spark))
    small_tables: dict[Table, pd.DataFrame] = {}  # whose rows are on the driver
    if reused is None:
        made = make_model(config, clock, indexed, staged.run, source)
    else:
        made = reuse_model(reused)
    trained, report = made.trained, made.report
    if report is not None:
        small_tables[EVALUATION] = report.to_table()
    with clock.stage("cluster"):
        earlier = _read_current_clusters(spark, storage)
        labelled = label_items(trained.model, catalog, config.cluster, earlier)
        clusters = describe_clusters(labelled, config.cluster)
        small_tables |= _list_item_tables(
            config.publish, labelled.rows, trained.model, catalog, allowed
        )
        for table, rows in small_tables.items():
            staged.write_local_table(spark, table, rows, item_id_type)
    left_out = indexed.left_out if config.score.fallback == "popularity" else None
    with clock.stage("score"):
        labels, embeddings = labelled.aligned.cluster, trained.model.item_embeddings
        rules = make_rules(config.rules, config.score.k, allowed, catalog, labels, embeddings)
        kept_from = reused if choices.changed_only else None
        work = choose_users(spark, config, storage, staged, indexed.frame, plan, kept_from)
        lists = write_lists(
            config, staged, left_out, trained.model, catalog, rules, work, kept_from
        )
        if config.publish.factors:
            factors = fold_in_users(indexed.frame, trained.model, catalog.item_ids)
            staged.write_table(USER_FACTORS, factors)
    written = spark.read.parquet(staged.table_uri(RECOMMENDATIONS))
    sampled_users: list[Any] = []
    if candidates is not None:
        with clock.stage("recent"):
            sampled_users = sample_users(written)
            recent = list_recent(sampled_users, candidates, source.rows, items.items)
            small_tables[RECENT_RATINGS] = recent
            user_id_type = source.rows.schema[USER_ID].dataType
            staged.write_local_table(spark, RECENT_RATINGS, recent, item_id_type, user_id_type)
    with clock.stage("audit"):
        audit = audit_recommendations(
            written,
            indexed.frame,
            catalog.item_ids,
            k=config.score.k,
            n_partitions=n_partitions,
            left_out=left_out,
            rules=rules,
            effects=lists.effects,
        )
        excluded = audit_excluded(
            spark.read.parquet(staged.table_uri(EXCLUDED)), (clean.funnel[0], clean.funnel[-1])
        )
        n_rows = {table: len(rows) for table, rows in small_tables.items()}
        if config.publish.factors:
            n_rows[USER_FACTORS] = clean.funnel[-1].users
        if config.publish.scored_users:
            n_rows[SCORED_USERS] = clean.funnel[-1].users
        audit_columns(lists.table, written)
        _audit_tables(spark, staged, n_rows)
        shown = pick_lists(written, catalog)
        model_sha256 = staged.write_model(SavedModel(trained.model, catalog, made.training))
    manifest = make_manifest(
        spark,
        config,
        staged.run,
        files=[*source.files, *items.files, *named.files],
        funnel=clean.funnel,
        refused=account.refused,
        evaluation=None if report is None else report.describe(),
        training=made.training,
        incremental=lists.incremental,
        clusters=clusters,
        rules=describe_rules(rules, named, lists.effects),
        model_sha256=model_sha256,
        audit=audit,
        excluded=excluded,
        environment=environment,
        rows={RECOMMENDATIONS: audit.rows, **n_rows},
        n_partitions=n_partitions,
        stage_seconds=clock.seconds,
    )
    bad_factors = int((~np.isfinite(trained.model.item_factors)).sum())
    run_items = RunItems(labelled.rows, trained.model.item_embeddings)
    return Candidate(staged, manifest, written, shown, run_items, bad_factors, sampled_users)


def _audit_tables(spark: SparkSession, staged: StagedRun, n_rows: dict[Table, int]) -> None:
    """Hold staged tables to their columns and to so many rows."""
    for table, expected in n_rows.items():
        written = spark.read.parquet(staged.table_uri(table))
        audit_columns(table, written)
        audit_rows(table.name, written, expected)


def _keep_refused(staged: StagedRun, account: RowAccount) -> None:
    """Put refused rows where they can be looked at, also when the run then ends."""
    if account.refused:
        place = staged.write_quarantine(account.quarantine)
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in account.refused.items())
        n_rows = sum(account.refused.values())
        logger.warning("quarantine: %s rows in %s: %s", f"{n_rows:,}", place, reasons)


def _keep_excluded(staged: StagedRun, clean: CleanRatings) -> None:
    """Log the funnel and write who was left out."""
    for step in clean.funnel:
        logger.info(
            "funnel %s: %s ratings, %s users, %s items (%s)",
            step.step,
            *(f"{count:,}" for count in (step.rows, step.users, step.items)),
            step.rule,
        )
    staged.write_table(EXCLUDED, clean.excluded.coalesce(1))


def _read_current_clusters(spark: SparkSession, storage: Storage) -> EarlierClusters | None:
    """The labels that readers know, whatever the date of their run: a backfill keeps them too."""
    current = find_current(storage)
    if current is None:
        return None
    uri = storage.uri(f"{current.place}/{ITEM_CLUSTERS.name}")
    return read_earlier_clusters(spark, uri, current.run_id)


def _list_item_tables(
    config: PublishConfig,
    labelled: pd.DataFrame,
    model: FactorModel,
    catalog: ItemCatalog,
    allowed: Int32Array | None,
) -> dict[Table, pd.DataFrame]:
    """The tables that have the items for rows, as far as they are wanted."""
    tables = {ITEM_CLUSTERS: labelled}
    if config.similar_items:
        similar = list_similar_items(model, catalog, config.similar_items, allowed)
        tables[SIMILAR_ITEMS] = similar
    if config.factors:
        tables[ITEM_FACTORS] = list_item_factors(model, catalog)
    return tables


if __name__ == "__main__":
    from jobs.cli import nightly

    sys.exit(nightly())
