"""The lists of a night: whom to score, under which rules, and where they are written."""

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame

from jobs.night.context import Night
from jobs.night.make_model import NightModel
from jobs.night.prepare_ratings import NightInput, NightRatings
from jobs.night.reuse import ReusedModel, find_earlier_lists
from jobs.report.counting.count_run import sample_users
from jobs.report.counting.spark_tables import SparkTables
from jobs.stages.changed_users import ScoringWork, hash_ratings, score_everyone, split_work
from jobs.stages.cluster import LabelledItems
from jobs.stages.item_catalog import add_titles
from jobs.stages.list_rules import make_rules
from jobs.stages.recent_ratings import list_recent
from jobs.stages.score import (
    fold_in_users,
    list_popular,
    observe_effects,
    read_effects,
    score_users,
)
from jobs.tables.published import (
    RECENT_RATINGS,
    RECOMMENDATIONS,
    SCORED_USERS,
    TITLED_RECOMMENDATIONS,
    USER_FACTORS,
    Table,
)
from recsys_core.ranking.list_rules import ListRules


@dataclass(frozen=True)
class NightLists:
    """What was written, and how it came about."""

    table: Table
    frame: DataFrame
    """The staged table, to be read."""
    left_out: DataFrame | None
    """``IndexedRatings.left_out`` where those users were given the most rated items, else None."""
    rules: ListRules | None
    effects: dict[str, int] | None
    """What the rules did; None where there are none."""
    incremental: dict[str, Any] | None
    """Of whom the lists were kept, for the manifest; None where nobody's were to be."""


def write_lists(
    night: Night,
    source: NightInput,
    ratings: NightRatings,
    model: NightModel,
    labelled: LabelledItems,
) -> NightLists:
    """Make and write everybody's list, and the users' factors where they are wanted."""
    config, staged, catalog = night.config, night.staged, ratings.catalog
    k, factors = config.score.k, model.trained.model
    rules = make_rules(
        config.rules,
        k,
        ratings.allowed,
        catalog,
        labelled.aligned.cluster,
        factors.item_embeddings,
    )
    kept_from = source.reused if night.choices.changed_only else None
    work = _choose_users(night, ratings, kept_from)
    lists = work.add_kept(score_users(work.ratings, factors, catalog.item_ids, k, rules))
    left_out = ratings.indexed.left_out if config.score.fallback == "popularity" else None
    if left_out is not None:
        popular = list_popular(left_out, catalog.rating_count, catalog.item_ids, k, rules)
        lists = lists.unionAll(popular)
    observed = None
    if rules is not None:
        lists, observed = observe_effects(lists)
    table = RECOMMENDATIONS
    if config.publish.titles:
        table, lists = TITLED_RECOMMENDATIONS, add_titles(lists, catalog)
    staged.write_table(table, lists)
    if config.publish.factors:
        users = fold_in_users(ratings.indexed.frame, factors, catalog.item_ids)
        staged.write_table(USER_FACTORS, users, ratings.plan.size.users)
    return NightLists(
        table,
        night.spark.read.parquet(staged.table_uri(table)),
        left_out,
        rules,
        None if observed is None else read_effects(observed),
        None if kept_from is None else work.describe(kept_from.record.run_id),
    )


def _choose_users(
    night: Night, ratings: NightRatings, kept_from: ReusedModel | None
) -> ScoringWork:
    """Whom to score: all, but for those whose lists can be kept of the run of ``kept_from``.

    Also writes ``SCORED_USERS`` where it is wanted.
    """
    frame, n_users = ratings.indexed.frame, ratings.plan.size.users
    n_partitions, wanted = ratings.plan.n_partitions, night.config.publish.scored_users
    if kept_from is None and not wanted:
        return score_everyone(frame, n_users, n_partitions)
    users = hash_ratings(frame, n_partitions).persist()  # written, compared, or both
    if wanted:
        night.staged.write_table(SCORED_USERS, users, n_users)
    earlier = None
    if kept_from is not None:
        earlier = find_earlier_lists(
            night.spark,
            night.storage,
            kept_from,
            night.config.score,
            night.config.rules,
            frame,
        )
    if earlier is None:
        return score_everyone(frame, n_users, n_partitions)
    return split_work(
        frame,
        users,
        earlier.scored_users,
        earlier.lists,
        n_users=n_users,
        n_partitions=n_partitions,
    )


def write_recent(
    night: Night, source: NightInput, ratings: NightRatings, lists: NightLists
) -> list[Any]:
    """Write the latest ratings of the users whom the report shows, and say who they are.

    Nobody, where no report is wanted.
    """
    if ratings.candidates is None:
        return []
    with night.clock.stage("recent"):
        users = sample_users(SparkTables({RECOMMENDATIONS: lists.frame}))
        recent = list_recent(users, ratings.candidates, source.ratings.rows, source.items.items)
        night.staged.write_local_table(
            night.spark, RECENT_RATINGS, recent, source.item_id_type, source.user_id_type
        )
    return users
