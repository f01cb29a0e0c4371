"""What a night will need, worked out before the work: sizes, blocks, memory; and whether it fits.

The bounds are linear in what they name, and meant to be safe rather than close: a test holds the
workers' own peak below theirs. Ratings are never held by a worker as a whole, so its bound knows
neither the number of users nor how much any of them has rated.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.table import Table

from jobs.errors import MachineError
from jobs.machine.session import ARROW_BATCH_BYTES
from jobs.settings.config import Config
from jobs.settings.train import TrainConfig
from jobs.tables.columns import ITEM_ID, REASON, USER_ID
from recsys_core.compile.padding import pad_width
from recsys_core.ranking.ruled_lists import CANDIDATES_PER_PLACE
from recsys_core.ranking.top_k import USERS_AT_ONCE, USERS_PER_BLOCK, choose_width

MIB = 2**20
_WORKER_BASE = 350 * MIB
"""A Python worker with numpy, scipy, pyarrow and the compiled functions, before any data."""
_DRIVER_BASE = 800 * MIB
"""The driver's Python with torch and scikit-learn, before any data."""
_TRAINING_BYTES = {
    # scikit-learn works in float64: the matrix and its transpose, and four factor matrices.
    "nmf": (24, 32, 32),
    # Pairs, values and their shuffled copies; the table, its gradient and two moments.
    "mf": (56, 16, 16),
    # The matrix and its transpose; factors of both sides, and those of the iteration before.
    "als": (24, 8, 8),
    # The matrix and its transpose; one product with all users, several with all items.
    "ease": (24, 8, 32),
}
"""Most bytes that training takes: for each rating, and for each factor of a user and of an item."""
_LIST_BYTES = 40
"""Of a place in a list: item and score as found, chosen, taken out, and in the Arrow batch."""
_BYTES = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True)
class InputSize:
    """How much there is to work on."""

    ratings: int
    users: int
    items: int


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


@dataclass(frozen=True)
class Limits:
    """What there is; bytes, None where nothing bounds it."""

    machine: int
    """Memory of the driver's machine."""
    heap: int
    """Of the driver's JVM."""
    local_workers: int
    """Workers that share the driver's machine."""
    worker: int | None
    """A worker's share of what its executor may use."""
    worker_setting: str
    max_result: int | None


def measure_input(rows: DataFrame) -> InputSize:
    """Valid rows, users and items of the input in one pass; the latter two within about 2%."""
    valid = rows.where(F.col(REASON).isNull())
    row = valid.agg(
        F.count("*"),
        *(F.approx_count_distinct(name, 0.02) for name in (USER_ID, ITEM_ID)),
    ).collect()[0]
    return InputSize(*(int(count) for count in row))


def make_plan(
    size: InputSize, config: Config, n_partitions: int, n_columns: int | None = None
) -> Plan:
    """Bounds on the memory of a night over input of this size.

    Args:
        n_columns: of the item factors, where there is a model and nothing is trained.
    """
    trained = users = training = 0
    if n_columns is None:
        share = min(1.0, (config.train.max_users or size.users) / max(size.users, 1))
        trained, users = round(size.ratings * share), round(size.users * share)
        training = _bound_training(replace(size, ratings=trained, users=users), config)
        n_columns = max(_count_columns(config.train, model) for model in config.train.models)
    factors = 4 * size.items * n_columns
    width = choose_width(size.items)
    of_rules = 0
    if config.rules.are_set:  # groups of the items, and embeddings for diversity
        of_rules = 32 * size.items + (factors if config.rules.diversity else 0)
    return Plan(
        size=size,
        trained_ratings=trained,
        n_partitions=n_partitions,
        items_per_block=width,
        broadcast=factors + 16 * size.items + of_rules,
        # Factors as received, in order of norm and in blocks, for the fold-in in whole vectors and
        # in float64, with rules the allowed ones and their directions too; the block of scores;
        # candidates and lists; Arrow batches on their way in, regrouped, and out.
        worker=_WORKER_BASE
        + (9 if config.rules.are_set else 6) * 4 * size.items * pad_width(n_columns)
        + 64 * size.items
        + 4 * USERS_PER_BLOCK * width
        + _LIST_BYTES * USERS_AT_ONCE * _count_candidates(config)
        + 6 * ARROW_BATCH_BYTES,
        collected=8 * trained + 24 * users,
        driver=_DRIVER_BASE + 24 * trained + training + 4 * factors,
    )


def _count_candidates(config: Config) -> int:
    """Most items that are kept of a user while its list is made."""
    rules, k = config.rules, config.score.k
    if not rules.are_set:
        return k
    return max(CANDIDATES_PER_PLACE * k, rules.diversity_pool)


def _bound_training(size: InputSize, config: Config) -> int:
    """Bytes that training, and a split to evaluate on, take beside the ratings."""
    training = max(
        per_rating * size.ratings
        + _count_columns(config.train, model) * (of_user * size.users + of_item * size.items)
        for model in config.train.models
        for per_rating, of_user, of_item in [_TRAINING_BYTES[model]]
    )
    # The three parts of a split.
    return training + (24 * size.ratings if config.evaluates else 0)


def _count_columns(config: TrainConfig, model: str) -> int:
    if model == "nmf":
        return config.nmf.n_components
    n_factors: int = getattr(config, model).n_factors
    return n_factors + (2 if model == "mf" and config.mf.biases else 0)


def read_limits(spark: SparkSession) -> Limits:
    """What the session and this machine allow."""
    conf, master = spark.sparkContext.getConf(), str(spark.sparkContext.master)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    heap = _parse_size(conf.get("spark.driver.memory", "1g"))
    max_result = _parse_size(conf.get("spark.driver.maxResultSize", "1g")) or None
    slots = spark.sparkContext.defaultParallelism
    if master.startswith("local") and not master.startswith("local-cluster"):
        return Limits(machine, heap, slots, None, "", max_result)
    cores = int(conf.get("spark.executor.cores", "1"))
    own = conf.get("spark.executor.pyspark.memory")
    overhead = conf.get("spark.executor.memoryOverhead")
    if own is not None:
        return Limits(
            machine,
            heap,
            0,
            _parse_size(own, "m") // cores,
            "spark.executor.pyspark.memory",
            max_result,
        )
    if overhead is None and not master.startswith(("yarn", "k8s")):
        return Limits(machine, heap, 0, None, "", max_result)  # nothing bounds the workers there
    executor = _parse_size(conf.get("spark.executor.memory", "1g"))
    allowed = _parse_size(overhead, "m") if overhead else max(384 * MIB, executor // 10)
    return Limits(machine, heap, 0, allowed // cores, "spark.executor.memoryOverhead", max_result)


def _parse_size(text: str, unit: str = "b") -> int:
    """Bytes of a size as Spark writes it: 512m, 4g, 4096."""
    number = text.strip().lower().removesuffix("b")
    if number and number[-1] in _BYTES:
        return int(float(number[:-1]) * _BYTES[number[-1]])
    return int(number) * _BYTES.get(unit, 1)


def require_fit(plan: Plan, limits: Limits) -> None:
    """Refuse a night that cannot fit, before anything is trained.

    Raises:
        MachineError: says what needs how much, what there is, and which setting to change.
    """
    for problem in find_misfits(plan, limits):
        raise MachineError(problem)


def find_misfits(plan: Plan, limits: Limits) -> Iterator[str]:
    """One line for each bound that is exceeded."""
    size = f"{plan.size.items:,} items"
    if limits.worker is not None and plan.worker > limits.worker:
        yield (
            f"a Python worker needs up to {_show(plan.worker)} to score {size} (of which the "
            f"broadcast is {_show(plan.broadcast)}), but has {_show(limits.worker)}: raise "
            f"{limits.worker_setting}, lower the number of factors, or raise clean.min_item_ratings"
        )
    if limits.max_result is not None and plan.collected > limits.max_result:
        yield (
            f"{plan.trained_ratings:,} ratings are {_show(plan.collected)} on their way to the "
            f"driver, but spark.driver.maxResultSize is {_show(limits.max_result)}: raise it, or "
            "set train.max_users"
        )
    needed = limits.heap + max(plan.driver, limits.local_workers * plan.worker)
    if needed > limits.machine:
        work, advice = f"scoring {size} with the model there is", ""
        if plan.trained_ratings:
            work = f"training on {plan.trained_ratings:,} ratings and scoring {size}"
            advice = "set train.max_users, lower the number of factors, or "
        yield (
            f"{work} needs up to {_show(needed)} on the driver's machine ({_show(limits.heap)} of "
            f"it spark.driver.memory), which has {_show(limits.machine)}: {advice}take a larger "
            "machine"
        )


def describe_plan(plan: Plan, limits: Limits) -> Table:
    """The plan as a table for the terminal."""
    table = Table(title="Plan", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("remark")
    trains = plan.trained_ratings > 0
    counts = (
        ("ratings", plan.size.ratings, "valid rows"),
        ("users", plan.size.users, "all are scored; within 2%"),
        ("items", plan.size.items, "before clean.*; within 2%" if trains else "of the model"),
        ("ratings to train on", plan.trained_ratings, "train.max_users" if trains else "none"),
        ("partitions", plan.n_partitions, "tasks of cleaning and scoring"),
    )
    for name, count, remark in counts:
        table.add_row(name, f"{count:,}", remark)
    table.add_row(
        "block of scores",
        f"{USERS_PER_BLOCK} x {plan.items_per_block}",
        "users x items, float32, one a worker",
    )
    table.add_row("broadcast", _show(plan.broadcast), "item factors and ids, to each executor")
    driver_remark = "at most, in training" if trains else "at most"
    worker_limit = f"of {_show(limits.worker)}" if limits.worker is not None else "each, at most"
    table.add_row("Python worker", _show(plan.worker), worker_limit)
    table.add_row("driver's Python", _show(plan.driver), driver_remark)
    table.add_row("driver's JVM", _show(limits.heap), "spark.driver.memory; caches spill to disk")
    table.add_row("driver's machine", _show(limits.machine), "memory there is")
    return table


def _show(n_bytes: int) -> str:
    return f"{n_bytes / MIB:,.0f} MiB" if n_bytes < 10_240 * MIB else f"{n_bytes / 2**30:,.1f} GiB"
