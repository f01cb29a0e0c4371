"""What training takes: time and peak memory, from 2 to 20 million ratings; ``slim`` and its peer.

    ./spark-submit.sh bench training_scale
    ./spark-submit.sh bench slim_training [--long]

Each training has a process of its own, whose peak memory is that of the driver's Python in a night:
the ratings, the trainer's own, and the packages. The JVM's heap is not part of it. What a training
takes beside the ratings is counted from when they are loaded and the code is compiled.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.als_training import DATA, Setting, make_implicit, read_goodbooks, read_gowalla
from benchmarks.timing import MISSING, Row, compare, pass_over
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.registry import MODELS
from recsys_core.sample.generator import iter_ratings, make_items
from recsys_core.sparse import mark_seen

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
SLIM = {"activity_exponent": 0.25, "popularity_exponent": 0.0, "rating_weight": 0.0}
GOWALLA_BAR = (15.0, 2e9)
"""Seconds, and bytes beside the ratings."""
LARGE_BAR = (40.0, 4e9)


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


@dataclass(frozen=True)
class Training:
    """One training in a process of its own."""

    model: ItemModel
    seconds: float
    peak: float
    """Most bytes that the process held while it trained."""
    growth: float
    """By how much that is more than before it: what training takes beside the ratings."""


def train_apart(ratings: csr_matrix, kind: str, settings: dict[str, Any]) -> Training:
    """Train in a new process, once its code is compiled."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "training"
        _save(ratings, place)
        return _run_child(place, kind, settings)


def measure(models: tuple[str, ...] = tuple(TRAININGS)) -> Iterator[Row]:
    """Train each model on each size, in turn."""
    seconds: dict[tuple[str, int], float] = {}
    with tempfile.TemporaryDirectory() as directory:
        for n_ratings in SIZES:
            place = Path(directory) / str(n_ratings)
            _save(draw_matrix(n_ratings), place)
            for model in models:
                settings, passes = TRAININGS[model]
                done = _run_child(place, model, settings)
                seconds[model, n_ratings] = done.seconds
                yield {
                    "model": model,
                    "ratings": n_ratings,
                    "seconds": done.seconds,
                    "ratings/s and pass": n_ratings * passes / done.seconds,
                    "growth": done.seconds / seconds[model, min(SIZES)],
                    "peak, GB": done.peak / 1e9,
                }


def time_slim() -> Iterator[Row]:
    """On goodbooks-10k in turn with ``implicit``'s ALS, and on Gowalla in a process of its own."""
    for data, run in (("goodbooks-10k", _slim_vs_implicit), ("Gowalla", _slim_on_gowalla)):
        try:
            yield run()
        except MISSING as error:
            yield pass_over(error, training=data)


def time_large_slim() -> Iterator[Row]:
    """On the larger of the generated sizes."""
    ratings = draw_matrix(max(SIZES))
    settings = {**SLIM, "neighbours": 50, "regularization": 100.0}
    done = train_apart(ratings, "slim", settings)
    yield _hold_to("slim, m = 50, {:,} x {:,}, {:,} ratings", ratings, [done], LARGE_BAR)


def _slim_vs_implicit() -> Row:
    ratings = read_goodbooks(DATA, min_user_ratings=1)
    seen = mark_seen(ratings)
    settings = {**SLIM, "neighbours": 50, "regularization": 30.0, "rating_weight": 0.2}

    def train_peer() -> None:
        with threadpool_limits(1, user_api="blas"):  # its own threads are enough
            make_implicit(Setting(64, 10.0, 10.0), 10, 0).fit(seen, show_progress=False)

    timed = compare(
        lambda: MODELS["slim"].train(ratings, seed=0, device="cpu", **settings),
        train_peer,
        runs=3,
        exact=True,
    )
    return {
        "training": "slim, m = 50, goodbooks-10k",
        "seconds": timed.ours,
        "peer": "implicit's ALS, 64 factors, 10 iterations",
        "peer, s": timed.peer,
        "ratio": timed.ratio,
    }


def _slim_on_gowalla() -> Row:
    ratings = read_gowalla(DATA).train
    settings = {**SLIM, "neighbours": 100, "regularization": 70.0}
    done = [train_apart(ratings, "slim", settings) for _ in range(3)]
    return _hold_to("slim, m = 100, Gowalla, {:,} x {:,}, {:,} pairs", ratings, done, GOWALLA_BAR)


def _hold_to(name: str, ratings: csr_matrix, done: list[Training], bar: tuple[float, float]) -> Row:
    """The median time and the most memory of some trainings, and whether both are below the bar."""
    seconds = statistics.median(each.seconds for each in done)
    growth = max(each.growth for each in done)
    return {
        "training": name.format(*ratings.shape, ratings.nnz),
        "seconds": seconds,
        "GB beside the ratings": growth / 1e9,
        "bar": f"{bar[0]:g} s, {bar[1] / 1e9:g} GB",
        "below it": seconds < bar[0] and growth < bar[1],
    }


def _save(matrix: csr_matrix, place: Path) -> None:
    place.mkdir()
    for name in ("data", "indices", "indptr"):
        np.save(place / f"{name}.npy", getattr(matrix, name))
    (place / "shape.json").write_text(json.dumps(matrix.shape))


def _run_child(place: Path, kind: str, settings: dict[str, Any]) -> Training:
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_scale", str(place), kind, json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    with np.load(place / "model.npz") as arrays:
        model = MODELS[kind].model.from_arrays({name: arrays[name] for name in arrays.files})
    return Training(model, **json.loads(done.stdout))


# --- In the child ---------------------------------------------------------------------------------


def train_once(place: Path, kind: str, settings: dict[str, Any]) -> dict[str, float]:
    """Train on the saved matrix and save the model beside it: seconds and bytes of memory."""
    data, indices, indptr = (np.load(place / f"{n}.npy") for n in ("data", "indices", "indptr"))
    shape = tuple(json.loads((place / "shape.json").read_text()))
    ratings = csr_matrix((data, indices, indptr), shape=shape)
    train = MODELS[kind].train
    train(_draw_corner(ratings), seed=0, device="cpu", **settings)  # compiles
    before = _forget_peak()
    started = time.perf_counter()
    model = train(ratings, seed=0, device="cpu", **settings).model
    seconds, peak = time.perf_counter() - started, _read_memory("VmHWM")
    np.savez(place / "model.npz", **model.to_arrays())
    return {"seconds": seconds, "peak": peak, "growth": peak - before}


def _draw_corner(ratings: csr_matrix, most: int = 2_000) -> csr_matrix:
    """The ratings of the most active users, of the items they rate most."""
    users = np.argsort(-np.diff(ratings.indptr), kind="stable")[:most]
    rated = np.bincount(ratings[users].indices, minlength=ratings.shape[1])
    return ratings[users][:, np.argsort(-rated, kind="stable")[:most]].sorted_indices()


def _forget_peak() -> float:
    """Bytes that this process holds; the most it has held is counted from here on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _read_memory("VmRSS")


def _read_memory(name: str) -> float:
    """Bytes. (ru_maxrss would begin with the parent's.)"""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024.0


if __name__ == "__main__":
    print(json.dumps(train_once(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))))
