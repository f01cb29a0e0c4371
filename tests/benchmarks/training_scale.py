"""How training grows from 2 to 20 million generated ratings: time, throughput and peak memory.

    ./spark-submit.sh bench training_scale

Each training has a process of its own, whose peak memory is that of the driver's Python in a night:
the ratings, the trainer's own, and the packages. The JVM's heap is not part of it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from scipy.sparse import csr_matrix

from recsys_core.models.registry import MODELS
from recsys_core.sample.generator import iter_ratings, make_items

SIZES = {2_000_000: (20_000, 20_000), 20_000_000: (200_000, 20_000)}
"""Ratings: users and items."""
TRAININGS: dict[str, tuple[dict[str, Any], int]] = {
    "nmf": (
        {
            "n_components": 20,
            "init": "nndsvd",
            "max_iter": 20,
            "tol": 0.0,
            "regularization": 0.0,
            "l1_ratio": 0.0,
            "binary": False,
        },
        20,
    ),
    "mf": (
        {
            "n_factors": 64,
            "epochs": 2,
            "batch_size": 8_192,
            "learning_rate": 0.003,
            "biases": True,
            "regularization": 0.05,
            "fold_in_regularization": 0.05,
            "validation_fraction": 0.0,
            "patience": 3,
        },
        2,
    ),
    "als": (
        {
            "n_factors": 64,
            "iterations": 2,
            "regularization": 0.003,
            "unobserved_weight": 0.1,
            "frequency_exponent": 1.0,
        },
        2,
    ),
    "ease": (
        {
            "n_factors": 256,
            "regularization": 100.0,
            "popularity_exponent": 0.25,
            "activity_exponent": 0.25,
            "power_iterations": 2,
            "scaling": "diagonal",
        },
        1,
    ),
}
"""Settings, and how often they go over all ratings; ``ease`` is trained to its end."""


def draw_matrix(n_ratings: int) -> csr_matrix:
    """Generated ratings, CSR float32."""
    n_users, n_items = SIZES[n_ratings]
    items = make_items(n_items, seed=0)
    chunks = list(iter_ratings(n_users, n_ratings, items, seed=0))
    user = np.concatenate([chunk.user_id for chunk in chunks]) - 1
    item = np.searchsorted(items.item_id, np.concatenate([chunk.item_id for chunk in chunks]))
    rating = np.concatenate([chunk.rating for chunk in chunks]).astype(np.float32)
    matrix = csr_matrix((rating, (user, item)), shape=(n_users, n_items))
    matrix.sort_indices()
    return matrix


def train_once(directory: Path, model: str) -> dict[str, float]:
    """Seconds of one training on the saved matrix, and this process's peak memory in bytes."""
    data, indices, indptr = (np.load(directory / f"{n}.npy") for n in ("data", "indices", "indptr"))
    shape = tuple(json.loads((directory / "shape.json").read_text()))
    settings, _ = TRAININGS[model]
    started = time.perf_counter()
    matrix = csr_matrix((data, indices, indptr), shape=shape)
    MODELS[model].train(matrix, seed=0, device="cpu", **settings)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak": _read_peak()}


def _read_peak() -> float:
    """Most memory this process has held, in bytes. (ru_maxrss would begin with the parent's.)"""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024.0


def measure(models: tuple[str, ...] = tuple(TRAININGS)) -> Table:
    """Train each model on each size, in turn."""
    table = Table("model", "ratings", "seconds", "ratings/s and pass", "growth", "peak, GB")
    seconds: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as directory:
        for n_ratings in SIZES:
            place = Path(directory) / str(n_ratings)
            _save(draw_matrix(n_ratings), place)
            for model in models:
                figures = _run_child(place, model)
                seconds[model, n_ratings] = figures["seconds"]
                first = seconds[model, min(SIZES)]
                table.add_row(
                    model,
                    f"{n_ratings:,}",
                    f"{figures['seconds']:.1f}",
                    f"{n_ratings * TRAININGS[model][1] / figures['seconds']:,.0f}",
                    f"{figures['seconds'] / first:.1f}",
                    f"{figures['peak'] / 1e9:.1f}",
                )
                print(f"training_scale {model} {n_ratings:,}: {figures}", flush=True)
    return table


def _save(matrix: csr_matrix, place: Path) -> None:
    place.mkdir()
    for name in ("data", "indices", "indptr"):
        np.save(place / f"{name}.npy", getattr(matrix, name))
    (place / "shape.json").write_text(json.dumps(matrix.shape))


def _run_child(place: Path, model: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_scale", str(place), model],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    print(json.dumps(train_once(Path(sys.argv[1]), sys.argv[2])))
