"""A scoring worker's own memory and time, in a process that does nothing else."""

import json
import os
import subprocess
import sys

import pytest
from builders import make_config
from paths import ROOT

from jobs.machine.plan import InputSize, bound_training, make_plan
from jobs.settings.config import Config

N_ITEMS, N_FACTORS, PER_USER = 120_000, 32, 50

SCORE = """
import json, re, sys, time
from pathlib import Path
import numpy as np
import pyarrow as pa
from jobs.stages.score import ScoringModel, score_batches
from jobs.ratings.user_rows import cut_pieces, make_lists
from recsys_core.models.nmf import NmfModel
from recsys_core.ranking.list_rules import ListRules, group_items

n_items, n_factors, n_users, per_user, one_user, with_rules = map(int, sys.argv[1:])
rng = np.random.default_rng(0)

def make_batches():  # as Spark sends them: some thousand users at a time
    for start in range(0, n_users, 2_000):
        counts = np.full(2_000, per_user)
        if start == 0 and one_user:
            counts[1_000] = one_user
        owner, piece, length = cut_pieces(counts)
        items = np.concatenate([(7 * np.arange(n) + n) % n_items for n in counts])
        yield pa.RecordBatch.from_pydict({
            "user_id": pa.array(start + owner),
            "piece": pa.array(piece, pa.int32()),
            "item_index": make_lists(length, pa.array(items.astype(np.int32))),
            "rating": make_lists(length, pa.array(np.ones(len(items), np.float32))),
        })

factors = rng.gamma(0.5, size=(n_items, n_factors)).astype(np.float32)
rules = None
if with_rules:
    genres, cluster = ["A|B", "B|C", "D"] * (n_items // 3), np.arange(n_items, dtype=np.int32) % 10
    rules = ListRules(
        group_items(genres, {"A": 2, "*": 8}, cluster, 3),
        allowed=np.arange(1, n_items, dtype=np.int32),
        diversity=0.3,
        pool=50,
        embeddings=factors,
    )
shipped = ScoringModel(NmfModel(factors), pa.array(np.arange(n_items)), rules)
started, rows = time.perf_counter(), 0
for batch in score_batches(make_batches(), shipped, 10):
    rows += batch.num_rows - batch.column("rank").null_count
print(json.dumps({
    "rows": rows,
    "seconds": time.perf_counter() - started,
    # Not ru_maxrss, which begins with the peak of the process that this one was forked from.
    "rss": 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]),
}))
"""


def score(n_users: int, *, one_user: int = 0, with_rules: bool = False) -> dict[str, float]:
    counts = (N_ITEMS, N_FACTORS, n_users, PER_USER, one_user, int(with_rules))
    arguments = map(str, counts)
    done = subprocess.run(
        [sys.executable, "-c", SCORE, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    assert figures["rows"] == 10 * n_users
    return figures


def bound_worker(config: Config) -> int:
    size = InputSize(10**6, 12_000, N_ITEMS)
    model = bound_training(size, config.train, evaluates=config.evaluates)
    return make_plan(size, model, config.rules, k=config.score.k, n_partitions=2).worker


def test_a_workers_memory_grows_neither_with_users_nor_with_one_of_them() -> None:
    few, many = score(2_000)["rss"], score(12_000)["rss"]
    assert many < few + 20 * 2**20
    # The user's own rows are held several times over: read, regrouped, as a matrix, and copied.
    assert score(2_000, one_user=100_000)["rss"] < few + 30 * 2**20
    config = make_config("unused", train={"nmf": {"n_components": N_FACTORS}})
    bound = bound_worker(config)
    assert 0.3 * bound < many < bound


def test_a_workers_memory_under_rules_is_below_its_bound() -> None:
    config = make_config(
        "unused",
        train={"nmf": {"n_components": N_FACTORS}},
        rules={"diversity": 0.3, "genre_caps": {"*": 8}},
    )
    bound = bound_worker(config)
    few = score(2_000, with_rules=True)["rss"]
    assert 0.3 * bound < few < bound
    assert score(8_000, with_rules=True)["rss"] < few + 20 * 2**20


@pytest.mark.long
def test_time_grows_linearly_with_users() -> None:
    few, many = (min(score(n)["seconds"] for _ in range(3)) for n in (4_000, 40_000))
    assert many < 10.5 * few
