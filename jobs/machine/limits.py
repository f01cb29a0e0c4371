"""What session and machine allow, and whether the plan of a night fits into it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from pyspark.sql import SparkSession
from rich.table import Table

from jobs.errors import MachineError
from jobs.machine.plan import MIB, Plan
from recsys_core.ranking.top_k import USERS_PER_BLOCK

_BYTES = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


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
