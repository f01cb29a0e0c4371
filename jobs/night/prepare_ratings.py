"""The ratings of a night: read, cleaned, indexed, and held to what the machines can take."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
from pyspark.sql.types import DataType

from jobs.input.files import InputFile
from jobs.input.read_items import ItemsInput, read_items
from jobs.input.read_list_rules import RuleInput, read_rules
from jobs.input.read_ratings import RatingsInput, read_ratings
from jobs.machine.limits import read_limits, require_fit
from jobs.machine.plan import InputSize, ModelNeeds, Plan, bound_training, make_plan
from jobs.machine.session import choose_partitions
from jobs.night.context import Night
from jobs.night.reuse import ReusedModel, load_reused, take_items
from jobs.ratings.clean import CleanRatings
from jobs.ratings.cleaning_rules import GivenItems
from jobs.ratings.funnel import FunnelStep
from jobs.ratings.gather import RowAccount
from jobs.ratings.hold_out import needs_times
from jobs.ratings.index import IndexedRatings
from jobs.ratings.prepare import clean_and_index
from jobs.ratings.recent import N_CANDIDATES
from jobs.runs.staged import StagedRun
from jobs.stages.item_catalog import make_catalog
from jobs.stages.list_rules import find_allowed
from jobs.tables.columns import ITEM_ID, USER_ID
from jobs.tables.published import EXCLUDED
from jobs.tables.spark import id_type_name
from recsys_core.arrays import Int32Array
from recsys_core.items.catalog import ItemCatalog

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NightInput:
    """What the night was given."""

    ratings: RatingsInput
    items: ItemsInput
    rules: RuleInput
    reused: ReusedModel | None
    """The model to score with; None where the night trains its own."""
    given: GivenItems | None
    """The items of that model."""

    @property
    def files(self) -> list[InputFile]:
        return [*self.ratings.files, *self.items.files, *self.rules.files]

    @property
    def user_id_type(self) -> DataType:
        return self.ratings.rows.schema[USER_ID].dataType

    @property
    def item_id_type(self) -> DataType:
        return self.ratings.rows.schema[ITEM_ID].dataType


@dataclass(frozen=True)
class NightRatings:
    """What the model is trained on and everyone is scored by."""

    indexed: IndexedRatings
    catalog: ItemCatalog
    """What is known of the indexed items, and of those left out."""
    allowed: Int32Array | None
    """Items that may be recommended; None for all."""
    funnel: Sequence[FunnelStep]
    refused: dict[str, int]
    """As in ``RowAccount``."""
    candidates: pa.Table | None
    """Of ``collect_candidates``; None where no report is wanted."""
    plan: Plan


def read_input(night: Night) -> NightInput:
    """Open everything that is read; of the ratings, the rows are read later.

    Raises:
        ConfigError, InputError: something that cannot be used as a whole.
    """
    spark, config = night.spark, night.config
    reused = load_reused(night.storage, night.choices)
    ratings = read_ratings(spark, config.input, config.clean)
    id_type = id_type_name(ratings.rows.schema[ITEM_ID].dataType)
    items = read_items(spark, config.input, id_type)
    rules = read_rules(spark, config.input, config.rules, items.items["genres"], id_type)
    given = None if reused is None else take_items(reused, config.train, id_type)
    return NightInput(ratings, items, rules, reused, given)


def prepare_ratings(night: Night, source: NightInput) -> NightRatings:
    """Clean and index the ratings; write down what was refused and who was left out.

    Raises:
        InputError: the rules leave nothing, or more rows are refused than the settings allow.
        MachineError: the night cannot fit; nothing has been trained yet.
    """
    config = night.config
    n_partitions = choose_partitions(night.spark, config.spark, source.ratings.bytes)
    measures = source.reused is None and config.evaluates
    prepared = clean_and_index(
        source.ratings.rows,
        n_partitions,
        config.clean,
        given=source.given,
        keep_times=measures
        and needs_times(config.evaluate, has_timestamp=source.ratings.has_timestamp),
        n_recent=N_CANDIDATES if config.publish.report else 0,
        stage=night.clock.stage,
        keep_refused=partial(_keep_refused, night.staged),
        keep_excluded=partial(_keep_excluded, night.staged),
    )
    indexed, clean = prepared.indexed, prepared.clean
    catalog = make_catalog(indexed, clean.excluded_items, source.items.items)
    allowed = find_allowed(source.rules, catalog)
    size = InputSize(clean.funnel[-1].rows, clean.funnel[-1].users, len(catalog))
    if source.reused is None:
        model = bound_training(size, config.train, evaluates=config.evaluates)
    else:
        model = ModelNeeds(source.reused.parts)
    plan = make_plan(size, model, config.rules, k=config.score.k, n_partitions=n_partitions)
    require_fit(plan, read_limits(night.spark))
    return NightRatings(
        indexed, catalog, allowed, clean.funnel, prepared.refused, prepared.candidates, plan
    )


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
