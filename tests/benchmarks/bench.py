"""Benchmarks: ours and a peer, in turn in one process, medians and their ratio.

./spark-submit.sh bench [NAME ...] [--long] [--json FILE]
"""

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from benchmarks import fold_in, top_k_peers
from benchmarks.timing import MISSING, Comparison, Row, pass_over
from benchmarks.top_k_peers import against
from rich.console import Console
from rich.table import Table


def _of_training(module: str, name: str) -> Callable[[int], Comparison]:
    def run(runs: int) -> Comparison:
        # torch takes seconds to import
        benchmark = getattr(importlib.import_module(f"benchmarks.{module}"), name)
        return benchmark(runs)  # type: ignore[no-any-return]

    return run


def _on_spark(name: str, *arguments: int) -> Callable[[int], Comparison]:
    def run(runs: int) -> Comparison:
        from benchmarks import spark_peers  # starts a JVM

        benchmark = getattr(spark_peers, name)
        return (benchmark(*arguments) if arguments else benchmark)(runs)

    return run


BENCHMARKS: dict[str, Callable[[int], Comparison]] = {
    "topk_vs_matmul": against(top_k_peers.matrix_product),
    "topk_vs_implicit": against(top_k_peers.implicit_topk),
    "topk_vs_argpartition": against(top_k_peers.argpartition),
    "topk_vs_torch_topk": against(top_k_peers.torch_topk),
    "topk_vs_faiss": against(top_k_peers.faiss_knn),
    "topk100_vs_matmul": against(top_k_peers.matrix_product, k=100),
    "topk_3706_vs_matmul": against(top_k_peers.matrix_product, n_items=3_706, n_users=9_216),
    "topk_100000x128_vs_matmul": against(
        top_k_peers.matrix_product, n_items=100_000, n_factors=128, n_users=1_152
    ),
    "nmf_fold_in_vs_sklearn": fold_in.vs_sklearn,
    "fold_in_vs_topk": fold_in.nmf_vs_top_k,
    "mf_fold_in_vs_topk": fold_in.mf_vs_top_k,
    "als_fold_in_vs_topk": fold_in.als_vs_top_k,
    "ease_fold_in_vs_topk": fold_in.ease_vs_top_k,
    "fold_in_vs_float32_topk": fold_in.nmf_vs_float32_top_k,
    "mf_fold_in_vs_float32_topk": fold_in.mf_vs_float32_top_k,
    "als_fold_in_vs_float32_topk": fold_in.als_vs_float32_top_k,
    "scoring_overhead": _on_spark("scoring_overhead"),
    "scoring_vs_float32_kernel": _on_spark("scoring_vs_float32_kernel"),
    "scoring_vs_spark_als": _on_spark("scoring", 60_000, 10_000, 6_000_000),
    "mf_vs_notebook": _of_training("mf_training", "vs_notebook"),
    "als_iteration_vs_implicit": _of_training("als_training", "iteration_vs_implicit"),
    "ease_vs_implicit": _of_training("ease_training", "vs_implicit"),
}

LONG: dict[str, Callable[[int], Comparison]] = {
    "scoring_unseen_vs_spark_als": _on_spark("scoring_unseen"),
    "scoring_large_vs_spark_als": _on_spark("scoring", 200_000, 20_000, 20_000_000),
    "night_vs_spark_als": _on_spark("night"),
}
"""Minutes to an hour each: run with ``--long``, or by name."""

TABLES = {
    "ease_ranks": ("ease_training", "tabulate_curve"),
    "lists_vs_peers": ("list_quality", "tabulate_lists"),
    "lists_vs_published": ("published_lists", "tabulate_published"),
    "slim_scoring": ("top_k_peers", "time_slim_scoring"),
    "slim_training": ("training_scale", "time_slim"),
    "training_scale": ("training_scale", "measure"),
    "users_in_training": ("users_in_training", "tabulate_users"),
}
"""What is no comparison of two times: rows of figures, minutes each, by name only."""

LONG_PARTS = {"slim_training": ("training_scale", "time_large_slim")}
"""More rows of a table, with ``--long``."""


@dataclass
class Results:
    """What was measured so far. It is in the file after each row: the next may take an hour."""

    file: Path | None
    rows: list[Row] = field(default_factory=list)

    def add(self, name: str, row: Row) -> None:
        self.rows.append({"name": name, **row})
        figures = ", ".join(f"{key} {show(value)}" for key, value in row.items())
        print(f"{name}: {figures}", flush=True)
        if self.file is not None:
            partial = self.file.with_name(f"{self.file.name}.partial")
            partial.write_text(json.dumps(self.rows, indent=2) + "\n")
            partial.replace(self.file)

    def tabulate(self, name: str, rows: list[Row]) -> Table:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        table = Table(*columns, title=name)
        for row in rows:
            table.add_row(*(show(row.get(column, "")) for column in columns))
        return table

    def list_tables(self) -> Iterator[Table]:
        """One of all comparisons, and one of each table's rows."""
        compared = [row for row in self.rows if row["name"] not in TABLES]
        if compared:
            yield self.tabulate("benchmarks", compared)
        for name in TABLES:
            rows = [{**row} for row in self.rows if row["name"] == name]
            for row in rows:
                del row["name"]
            if rows:
                yield self.tabulate(name, rows)


def show(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def measure(name: str, runs: int, with_long: bool) -> Iterator[Row]:
    """The rows of one benchmark, as they are measured; the last says so if something is missing."""
    try:
        if name in TABLES:
            parts = [TABLES[name]]
            if with_long and name in LONG_PARTS:
                parts.append(LONG_PARTS[name])
            for module, function in parts:
                yield from getattr(importlib.import_module(f"benchmarks.{module}"), function)()
        else:
            timed = (BENCHMARKS | LONG)[name](runs)
            yield {**asdict(timed), "ratio": timed.ratio}
    except MISSING as error:
        yield pass_over(error)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *LONG, *TABLES]))
@click.option("--long", "with_long", is_flag=True, help="Also run what takes up to an hour.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write them here.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
def main(names: tuple[str, ...], with_long: bool, json_file: Path | None, runs: int) -> None:
    """Time ours against a peer; all that are not long where no NAME is given.

    What lacks its data or its peer on this machine is passed over, by name.
    """
    results = Results(json_file)
    for name in names or (BENCHMARKS | LONG if with_long else BENCHMARKS):
        for row in measure(name, runs, with_long):
            results.add(name, row)
    for table in results.list_tables():
        Console().print(table)
    if not all(row.get("exact", True) for row in results.rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
