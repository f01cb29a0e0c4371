"""Benchmarks: ours and a peer, in turn in one process, medians and their ratio.

./spark-submit.sh bench [NAME ...] [--json FILE]
"""

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from benchmarks import mf_training
from rich.console import Console
from rich.table import Table

_RATINGS = Path(__file__).parents[3] / "shared" / "data" / "ml-latest-small" / "ratings.csv"


def _mf_vs_notebook(ratings: Path, runs: int) -> dict[str, object]:
    """Ten epochs of the third notebook's loop; exact where the loss curves agree within 2%."""
    result = mf_training.compare(ratings, epochs=10, runs=runs)
    curves = np.array([result.our_losses, result.peer_losses])
    return {
        "ours": result.ours,
        "peer": result.peer,
        "ratio": result.ratio,
        "runs": result.runs,
        "exact": bool(np.allclose(*curves, rtol=0.02)),
    }


BENCHMARKS: dict[str, Callable[[Path, int], dict[str, object]]] = {
    "mf_vs_notebook": _mf_vs_notebook,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(BENCHMARKS)))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write them here.")
@click.option("--ratings", type=click.Path(path_type=Path), default=_RATINGS, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
def main(names: tuple[str, ...], json_file: Path | None, ratings: Path, runs: int) -> None:
    """Time ours against a peer; all benchmarks where no NAME is given."""
    table = Table("benchmark", "ours, s", "peer, s", "ratio", "runs", "exact")
    rows = []
    for name in names or sorted(BENCHMARKS):
        row = {"name": name, **BENCHMARKS[name](ratings, runs)}
        rows.append(row)
        numbers = (f"{row[key]:.3g}" for key in ("ours", "peer", "ratio"))
        table.add_row(name, *numbers, str(row["runs"]), "yes" if row["exact"] else "NO")
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=2) + "\n")
    if not all(row["exact"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
