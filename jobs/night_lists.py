"""The lists of a night: whom to score, under which rules, and where they are written."""

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from jobs.catalog import add_titles
from jobs.config import Config
from jobs.incremental import ScoringWork, hash_ratings, score_everyone, split_work
from jobs.plan import Plan
from jobs.publish import StagedRun
from jobs.reuse import ReusedModel, find_earlier_lists
from jobs.schemas import RECOMMENDATIONS, SCORED_USERS, TITLED_RECOMMENDATIONS, Table
from jobs.score import list_popular, observe_effects, read_effects, score_users
from jobs.storage import Storage
from recsys_core.factor_model import FactorModel
from recsys_core.model_format import ItemCatalog
from recsys_core.rules import ListRules


@dataclass(frozen=True)
class WrittenLists:
    """What was written, and how it came about."""

    table: Table
    effects: dict[str, int] | None
    """What the rules did; None where there are none."""
    incremental: dict[str, Any] | None
    """Of whom the lists were kept, for the manifest; None where nobody's were to be."""


def write_lists(
    config: Config,
    staged: StagedRun,
    left_out: DataFrame | None,
    model: FactorModel,
    catalog: ItemCatalog,
    rules: ListRules | None,
    work: ScoringWork,
    kept_from: ReusedModel | None = None,
) -> WrittenLists:
    """Make and write everybody's list.

    Args:
        left_out: ``IndexedRatings.left_out`` where those users get the most rated items.
        work: from ``choose_users``.
        kept_from: as there.
    """
    k, item_ids = config.score.k, catalog.item_ids
    lists = work.add_kept(score_users(work.ratings, model, item_ids, k, rules))
    if left_out is not None:
        lists = lists.unionAll(list_popular(left_out, catalog.rating_count, item_ids, k, rules))
    observed = None
    if rules is not None:
        lists, observed = observe_effects(lists)
    table = RECOMMENDATIONS
    if config.publish.titles:
        table, lists = TITLED_RECOMMENDATIONS, add_titles(lists, catalog)
    staged.write_table(table, lists)
    return WrittenLists(
        table,
        None if observed is None else read_effects(observed),
        None if kept_from is None else work.describe(kept_from.record.run_id),
    )


def choose_users(
    spark: SparkSession,
    config: Config,
    storage: Storage,
    staged: StagedRun,
    ratings: DataFrame,
    plan: Plan,
    kept_from: ReusedModel | None,
) -> ScoringWork:
    """Whom to score: all, but for those whose lists can be kept of the run of ``kept_from``.

    Also writes ``SCORED_USERS`` where it is wanted.
    """
    n_users, n_partitions = plan.size.users, plan.n_partitions
    if kept_from is None and not config.publish.scored_users:
        return score_everyone(ratings, n_users, n_partitions)
    users = hash_ratings(ratings, n_partitions).persist()  # written, compared, or both
    if config.publish.scored_users:
        staged.write_table(SCORED_USERS, users)
    earlier = None
    if kept_from is not None:
        earlier = find_earlier_lists(spark, storage, kept_from, config, ratings)
    if earlier is None:
        return score_everyone(ratings, n_users, n_partitions)
    return split_work(
        ratings,
        users,
        earlier.scored_users,
        earlier.lists,
        n_users=n_users,
        n_partitions=n_partitions,
    )
