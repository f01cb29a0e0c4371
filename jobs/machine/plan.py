"""What a night will need, worked out before the work: sizes, blocks and memory.

The bounds are linear in what they name, and meant to be safe rather than close: a test holds the
workers' own peak below theirs. Ratings are never held by a worker as a whole, so its bound knows
neither the number of users nor how much any of them has rated.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.machine.session import ARROW_BATCH_BYTES
from jobs.settings.lists import RulesConfig
from jobs.settings.train import TrainConfig
from jobs.tables.columns import ITEM_ID, REASON, USER_ID
from recsys_core.compile.padding import pad_width
from recsys_core.models.registry import MODELS, PartSizes
from recsys_core.models.slim import N_EMBEDDING
from recsys_core.ranking.ruled_lists import CANDIDATES_PER_PLACE
from recsys_core.ranking.top_k import USERS_AT_ONCE, USERS_PER_BLOCK, choose_width

MIB = 2**20
_WORKER_BASE = 350 * MIB
"""A Python worker with numpy, scipy, pyarrow and the compiled functions, before any data."""
_DRIVER_BASE = 800 * MIB
"""The driver's Python with torch and scikit-learn, before any data."""
_SPLIT_BYTES = 24
"""Of a rating, in the three parts of a split together."""
_LIST_BYTES = 40
"""Of a place in a list: item and score as found, chosen, taken out, and in the Arrow batch."""


@dataclass(frozen=True)
class InputSize:
    """How much there is to work on."""

    ratings: int
    users: int
    items: int


@dataclass(frozen=True)
class ModelNeeds:
    """What the model of a night takes; all but its parts is 0 where one is used again."""

    parts: PartSizes
    """Of several candidates, the larger of each part."""
    trained_ratings: int = 0
    trained_users: int = 0
    training: int = 0
    """Most bytes beside the ratings, those of a split to evaluate on included."""


@dataclass(frozen=True)
class Plan:
    """Sizes and bounds of one night; bytes."""

    size: InputSize
    trained_ratings: int
    """0 where a model is used again."""
    n_partitions: int
    items_per_block: int
    broadcast: int
    worker: int
    """Of each Python worker: one a task slot."""
    collected: int
    """What the driver's JVM hands to Python for training."""
    driver: int
    """Of the driver's Python, beside the JVM."""


def measure_input(rows: DataFrame) -> InputSize:
    """Valid rows, users and items of the input in one pass; the latter two within about 2%."""
    valid = rows.where(F.col(REASON).isNull())
    row = valid.agg(
        F.count("*"),
        *(F.approx_count_distinct(name, 0.02) for name in (USER_ID, ITEM_ID)),
    ).collect()[0]
    return InputSize(*(int(count) for count in row))


def bound_training(size: InputSize, settings: TrainConfig, *, evaluates: bool) -> ModelNeeds:
    """What training on input of this size takes: of several candidates, the most of any.

    Args:
        evaluates: whether models are measured on a split of the ratings.
    """
    share = min(1.0, (settings.max_users or size.users) / max(size.users, 1))
    ratings, users = round(size.ratings * share), round(size.users * share)
    sizes, training = [], []
    for model in settings.models:
        kind = MODELS[model]
        parts = kind.size_parts(**settings.settings_of(model))
        sizes.append(parts)
        training.append(kind.memory.bound(ratings, users, size.items, parts))
    return ModelNeeds(
        PartSizes(max(parts.columns for parts in sizes), max(parts.weights for parts in sizes)),
        trained_ratings=ratings,
        trained_users=users,
        training=max(training) + (_SPLIT_BYTES * ratings if evaluates else 0),
    )


def make_plan(
    size: InputSize, model: ModelNeeds, rules: RulesConfig, *, k: int, n_partitions: int
) -> Plan:
    """Bounds on the memory of a night over input of this size.

    Args:
        model: of ``bound_training``, or the parts of one that is used again.
        k: length of the lists.
    """
    n_columns, n_weights = model.parts.columns, model.parts.weights * size.items
    factors = 4 * size.items * n_columns
    embedding = 4 * N_EMBEDDING if n_weights else 0  # what stands for an item without factors
    width = choose_width(size.items)
    of_rules = 0
    if rules.are_set:  # groups of the items, and embeddings for diversity
        of_rules = 32 * size.items + (factors if rules.diversity else 0)
    return Plan(
        size=size,
        trained_ratings=model.trained_ratings,
        n_partitions=n_partitions,
        items_per_block=width,
        broadcast=factors + 8 * n_weights + (16 + embedding) * size.items + of_rules,
        # Factors as received, in order of norm and in blocks, for the fold-in in whole vectors and
        # in float64, with rules the allowed ones and their directions too; weights as received and
        # both ways in order of norm, as they are sorted; the block of scores; candidates and lists;
        # Arrow batches on their way in, regrouped, and out.
        worker=_WORKER_BASE
        + (9 if rules.are_set else 6) * 4 * size.items * pad_width(n_columns)
        + (64 if rules.are_set else 48) * n_weights
        + (64 + embedding) * size.items
        + 4 * USERS_PER_BLOCK * width
        + _LIST_BYTES * USERS_AT_ONCE * _count_candidates(rules, k)
        + 6 * ARROW_BATCH_BYTES,
        collected=8 * model.trained_ratings + 24 * model.trained_users,
        driver=_DRIVER_BASE
        + 24 * model.trained_ratings
        + model.training
        + 4 * factors
        + 24 * n_weights,
    )


def _count_candidates(rules: RulesConfig, k: int) -> int:
    """Most items that are kept of a user while its list of k is made."""
    if not rules.are_set:
        return k
    return max(CANDIDATES_PER_PLACE * k, rules.diversity_pool)
