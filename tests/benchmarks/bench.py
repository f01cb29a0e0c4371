"""Benchmarks: ours and a peer, in turn in one process, medians and their ratio.

./spark-submit.sh bench [NAME ...] [--long] [--json FILE]
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click
from benchmarks import fold_in, top_k_peers
from benchmarks.timing import Comparison
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
    "training_scale": ("training_scale", "measure"),
}
"""What is no comparison of two times: tables, minutes each, by name only."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*BENCHMARKS, *LONG, *TABLES]))
@click.option("--long", "with_long", is_flag=True, help="Also run those that take up to an hour.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write them here.")
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
def main(names: tuple[str, ...], with_long: bool, json_file: Path | None, runs: int) -> None:
    """Time ours against a peer; all that are not long where no NAME is given."""
    everything = BENCHMARKS | LONG
    for name in names:
        if name in TABLES:
            module, function = TABLES[name]
            Console().print(getattr(importlib.import_module(f"benchmarks.{module}"), function)())
    if names and set(names) <= set(TABLES):
        return
    chosen = [name for name in names if name in everything]
    chosen = chosen or [*(everything if with_long else BENCHMARKS)]
    table = Table("benchmark", "ours, s", "peer, s", "ratio", "runs", "exact")
    rows = []
    for name in chosen:
        timed = everything[name](runs)
        rows.append({"name": name, **asdict(timed), "ratio": timed.ratio})
        numbers = (f"{value:.3g}" for value in (timed.ours, timed.peer, timed.ratio))
        table.add_row(name, *numbers, str(timed.runs), "yes" if timed.exact else "NO")
        print(f"{name}: ratio {timed.ratio:.2f}", flush=True)
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=2) + "\n")
    if not all(row["exact"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
