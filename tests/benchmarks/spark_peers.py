"""The scoring stage and the whole night against Spark MLlib's ALS, in one session of two cores.

Both sides score with the same factors: ours folds every user in and leaves out what was seen,
MLlib's model holds the user factors that come out of our fold-in.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks.timing import Comparison, compare
from pyspark.ml.evaluation import RankingEvaluator
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.sparse import csr_matrix

from jobs.input.read_ratings import read_ratings
from jobs.machine.session import choose_partitions, open_session
from jobs.night.night import run_nightly
from jobs.ratings.clean import clean_ratings
from jobs.ratings.collect import collect_ratings
from jobs.ratings.gather import account_rows
from jobs.ratings.index import IndexedRatings, index_ratings
from jobs.settings.config import Config
from jobs.stages.score import score_users
from recsys_core.models.nmf import NmfModel
from recsys_core.ranking.first_pass import Float32FirstPass
from recsys_core.ranking.top_k import TopKScorer
from recsys_core.sample.generator import iter_ratings, make_items

N_FACTORS, K, CORES = 64, 10, 2
_MANY_USERS = 100_000
_ROOT = Path(__file__).parents[2]
_DATA = _ROOT / ".bench"


@cache
def open_bench_session() -> SparkSession:
    """``local[2]`` with the settings of ``conf/spark-defaults.conf``."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.master(f"local[{CORES}]").appName("bench")
    for line in (_ROOT / "conf" / "spark-defaults.conf").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            key, value = line.split(None, 1)
            builder = builder.config(key, value.strip())
    builder.config("spark.driver.memory", "6g").getOrCreate()
    spark = open_session(make_config(Path("unused")).spark)
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def make_config(ratings: Path, output: Path | str = "unused", **sections: Any) -> Config:
    return Config.model_validate(
        {
            "input": {
                "ratings": str(ratings),
                "user_id_type": "integer",
                "item_id_type": "integer",
            },
            "output": {"path": str(output)},
            **sections,
        }
    )


def generate(n_users: int, n_items: int, n_ratings: int) -> Path:
    """Seeded ratings as a directory of Parquet, made once."""
    path = _DATA / f"{n_users}x{n_items}x{n_ratings}"
    if not path.exists():
        partial = path.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        chunks = iter_ratings(n_users, n_ratings, make_items(n_items, seed=0), seed=0)
        for number, chunk in enumerate(chunks):
            table = pa.table(
                {
                    "userId": chunk.user_id,
                    "movieId": chunk.item_id,
                    "rating": chunk.rating.astype(np.float64),
                    "timestamp": chunk.timestamp,
                }
            )
            pq.write_table(table, partial / f"part-{number:05d}.parquet")
        partial.rename(path)
    return path


@dataclass(frozen=True)
class ScoringProblem:
    """Ratings as the pipeline holds them, and one set of factors for both sides."""

    indexed: IndexedRatings
    matrix: csr_matrix
    model: NmfModel
    users: np.ndarray
    """float32 [n_users, N_FACTORS]: the users folded in, user u + 1 in row u."""


@contextmanager
def scoring_problem(n_users: int, n_items: int, n_ratings: int) -> Iterator[ScoringProblem]:
    spark = open_bench_session()
    config = make_config(generate(n_users, n_items, n_ratings))
    source = read_ratings(spark, config.input, config.clean)
    account = account_rows(source.rows, choose_partitions(spark, config.spark, source.bytes))
    cleaned = clean_ratings(account, config.clean)
    indexed = index_ratings(cleaned.ratings, cleaned.items)
    account.frame.unpersist()
    matrix = collect_ratings(indexed.frame, len(indexed.index)).matrix
    factors = np.random.default_rng(0).gamma(0.3, 1.0, (len(indexed.index), N_FACTORS))
    model = NmfModel(factors.astype(np.float32))
    users = np.concatenate(
        [model.fold_in(matrix[at : at + 4_096]) for at in range(0, matrix.shape[0], 4_096)]
    )
    try:
        yield ScoringProblem(indexed, matrix, model, users)
    finally:
        spark.catalog.clearCache()


@contextmanager
def als_model(problem: ScoringProblem) -> Iterator[ALSModel]:
    """MLlib's model with these factors: written in its own format and loaded, as it has no other
    way in."""
    spark = open_bench_session()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        (path / "metadata").mkdir()
        metadata = {
            "class": "org.apache.spark.ml.recommendation.ALSModel",
            "timestamp": 0,
            "sparkVersion": spark.version,
            "uid": "als_bench",
            "paramMap": {"userCol": "user_id", "itemCol": "item_index"},
            "defaultParamMap": {"blockSize": 4096, "coldStartStrategy": "nan"},
            "rank": N_FACTORS,
        }
        (path / "metadata" / "part-00000").write_text(json.dumps(metadata) + "\n")
        for name, factors, first in (
            ("userFactors", problem.users, 1),
            ("itemFactors", problem.model.item_factors, 0),
        ):
            ids = pa.array(np.arange(first, first + len(factors)), pa.int32())
            offsets = pa.array(np.arange(len(factors) + 1) * N_FACTORS, pa.int32())
            features = pa.ListArray.from_arrays(offsets, pa.array(factors.ravel()))
            (path / name).mkdir()
            pq.write_table(
                pa.table({"id": ids, "features": features}), path / name / "part-0.parquet"
            )
        yield ALSModel.load(str(path))


def write(frame: DataFrame, name: str) -> Path:
    path = _DATA / "written" / name
    shutil.rmtree(path, ignore_errors=True)
    frame.write.parquet(str(path))
    return path


def write_ours(problem: ScoringProblem) -> Path:
    item_ids = problem.indexed.index.item_ids
    return write(score_users(problem.indexed.frame, problem.model, item_ids, K), "ours")


def write_als(model: ALSModel) -> Path:
    lists = model.recommendForAllUsers(K).select("user_id", F.explode("recommendations").alias("r"))
    return write(lists.select("user_id", "r.item_index", "r.rating"), "als")


def write_als_unseen(model: ALSModel, problem: ScoringProblem) -> Path:
    """The same lists as ours in Spark: over-fetch, anti-join with the ratings, keep the first K."""
    most_seen = int(np.diff(problem.matrix.indptr).max())
    fetched = model.recommendForAllUsers(K + most_seen)
    candidates = fetched.select("user_id", F.posexplode("recommendations").alias("place", "r"))
    seen = problem.indexed.frame.select("user_id", F.explode("item_index").alias("item_index"))
    unseen = candidates.select("user_id", "place", "r.item_index", "r.rating").join(
        seen, ["user_id", "item_index"], how="left_anti"
    )
    best = F.slice(
        F.sort_array(F.collect_list(F.struct("place", "item_index", "rating"))), 1, K
    ).alias("list")
    return write(unseen.groupBy("user_id").agg(best), "als_unseen")


def is_exact(problem: ScoringProblem, written: Path, n_checked: int = 200) -> bool:
    """Whether written lists are those of a float64 sort, for users from all over the table."""
    table = pq.read_table(written).to_pandas()
    if len(table) != K * problem.matrix.shape[0]:
        return False
    rows = np.linspace(0, problem.matrix.shape[0] - 1, n_checked).astype(int)
    scores = problem.users[rows].astype(np.float64) @ problem.model.factors.T.astype(np.float64)
    scores[problem.matrix[rows].nonzero()] = -np.inf
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    listed = table[table["user_id"].isin(rows + 1)].sort_values(["user_id", "rank"])
    found = np.searchsorted(problem.indexed.index.item_ids, listed["item_id"].to_numpy())
    return bool(np.array_equal(found.reshape(expected.shape), expected))


def scoring(n_users: int, n_items: int, n_ratings: int) -> Callable[[int], Comparison]:
    """Our whole stage, to written Parquet, against ``recommendForAllUsers``, to written Parquet."""

    def run(runs: int) -> Comparison:
        with scoring_problem(n_users, n_items, n_ratings) as problem, als_model(problem) as model:
            write_ours(problem)
            timed = compare(
                lambda: write_ours(problem),
                lambda: write_als(model),
                runs=runs,
                exact=True,
                # Minutes of the large one's peer are not spent on a run that does not count.
                warm_up=n_users < _MANY_USERS,
            )
            return replace(timed, exact=is_exact(problem, _DATA / "written" / "ours"))

    return run


def scoring_unseen(runs: int) -> Comparison:
    """The same job on both sides: seen items left out."""
    with scoring_problem(60_000, 10_000, 6_000_000) as problem, als_model(problem) as model:
        write_ours(problem)
        timed = compare(
            lambda: write_ours(problem),
            lambda: write_als_unseen(model, problem),
            runs=runs,
            exact=True,
            warm_up=False,
        )
        return replace(timed, exact=is_exact(problem, _DATA / "written" / "ours"))


def scoring_overhead(runs: int, product: type[Float32FirstPass] | None = None) -> Comparison:
    """Our whole stage against its kernel alone, for the same users in as many processes.

    Args:
        product: of ``TopKScorer`` where the kernel is alone.
    """
    with scoring_problem(60_000, 26_744, 6_000_000) as problem:
        part = -(-len(problem.users) // CORES)
        slices = [slice(at, at + part) for at in range(0, len(problem.users), part)]
        path = _DATA / "kernel"
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / "items.npy", problem.model.item_factors)
        for number, users in enumerate(slices):
            seen = problem.matrix[users]
            np.savez(
                path / f"{number}.npz",
                users=problem.users[users],
                indptr=seen.indptr,
                indices=seen.indices,
            )
        with _kernel_processes(path, len(slices), product) as rank_all:
            timed = compare(lambda: write_ours(problem), rank_all, runs=runs, exact=True)
        return replace(timed, exact=is_exact(problem, _DATA / "written" / "ours"))


def scoring_vs_float32_kernel(runs: int) -> Comparison:
    """The same against the kernel as it is where there is no 16-bit product."""
    return scoring_overhead(runs, Float32FirstPass)


@contextmanager
def _kernel_processes(
    path: Path, n_processes: int, product: type[Float32FirstPass] | None
) -> Iterator[Callable[[], None]]:
    """Processes that hold a part of the users each, and a function that ranks them all."""
    from multiprocessing import get_context

    pools = [
        ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_load_part, initargs=(str(path), number, product)
        )
        for number in range(n_processes)
    ]

    def rank_all() -> None:
        for done in [pool.submit(_rank_part) for pool in pools]:
            done.result()

    try:
        yield rank_all
    finally:
        for pool in pools:
            pool.shutdown()


_part: dict[str, Any] = {}


def _load_part(path: str, number: int, product: type[Float32FirstPass] | None) -> None:
    from threadpoolctl import threadpool_limits

    _part["limits"] = threadpool_limits(1)
    items = np.load(Path(path) / "items.npy")
    part = np.load(Path(path) / f"{number}.npz")
    _part["users"] = part["users"]
    indices = part["indices"]
    _part["seen"] = csr_matrix(
        (np.ones(len(indices), np.float32), indices, part["indptr"]),
        shape=(len(part["users"]), len(items)),
    )
    _part["scorer"] = TopKScorer(items, K, product)


def _rank_part() -> None:
    for at in range(0, len(_part["users"]), 4_096):
        _part["scorer"].rank(_part["users"][at : at + 4_096], _part["seen"][at : at + 4_096])


# --- The whole night ----------------------------------------------------------------------------


def night(runs: int) -> Comparison:
    """Read, clean, index, train, score, write; exact where our hold-out NDCG@10 is no lower."""
    spark = open_bench_session()
    whole = generate(60_000, 10_000, 6_000_000)
    training, held_out = _split(spark, whole)
    output = _DATA / "night"
    settings = {
        "clean": {"min_item_ratings": 5},
        "train": {
            "model": "nmf",
            "max_users": 10_000,
            "nmf": {"n_components": N_FACTORS, "init": "nndsvd", "max_iter": 15},
        },
        "publish": {"similar_items": 0, "report": False},  # as the peer makes neither
    }
    config = make_config(training, output, **settings)

    def ours() -> None:
        shutil.rmtree(output, ignore_errors=True)
        run_nightly(spark, config, date(2026, 11, 21))

    timed = compare(
        ours, lambda: _mllib_night(spark, training), runs=runs, exact=True, warm_up=False
    )
    ndcg_ours = _ndcg(spark.read.parquet(f"{output}/current/recommendations"), held_out)
    ndcg_peer = _ndcg(spark.read.parquet(str(_DATA / "written" / "night")), held_out)
    print(f"hold-out NDCG@{K}: ours {ndcg_ours:.4f}, MLlib {ndcg_peer:.4f}", file=sys.stderr)
    return replace(timed, exact=ndcg_ours >= ndcg_peer)


def _split(spark: SparkSession, whole: Path) -> tuple[Path, DataFrame]:
    """Nine tenths of the ratings for training, and the rest, by a hash of user and item."""
    path = _DATA / "night_training"
    rows = spark.read.parquet(str(whole))
    is_held_out = F.pmod(F.xxhash64("userId", "movieId"), F.lit(10)) == 0
    if not path.exists():
        rows.where(~is_held_out).write.parquet(str(path))
    return path, rows.where(is_held_out).select("userId", "movieId")


def _mllib_night(spark: SparkSession, training: Path) -> None:
    rows = spark.read.parquet(str(training)).where(F.col("rating").between(0.5, 5))
    popular = rows.groupBy("movieId").count().where("count >= 5").select("movieId")
    kept = rows.join(popular, "movieId", how="left_semi")
    index = kept.select("movieId").distinct().toPandas().sort_values("movieId", ignore_index=True)
    index["item_index"] = index.index.astype("int32")
    lookup = F.broadcast(spark.createDataFrame(index))
    indexed = kept.join(lookup, "movieId").select("userId", "item_index", "rating").persist()
    als = ALS(
        rank=N_FACTORS, maxIter=10, userCol="userId", itemCol="item_index", ratingCol="rating"
    )
    lists = als.fit(indexed).recommendForAllUsers(K)
    flat = lists.select("userId", F.posexplode("recommendations").alias("place", "r")).select(
        F.col("userId").alias("user_id"), (F.col("place") + 1).alias("rank"), "r.item_index"
    )
    write(
        flat.join(lookup, "item_index").select(
            "user_id", "rank", F.col("movieId").alias("item_id")
        ),
        "night",
    )
    indexed.unpersist()


def _ndcg(lists: DataFrame, held_out: DataFrame) -> float:
    predicted = lists.groupBy("user_id").agg(
        F.sort_array(F.collect_list(F.struct("rank", F.col("item_id").cast("double")))).alias(
            "list"
        )
    )
    actual = held_out.groupBy(F.col("userId").alias("user_id")).agg(
        F.collect_list(F.col("movieId").cast("double")).alias("label")
    )
    both = actual.join(predicted, "user_id", how="left").select(
        F.coalesce(F.col("list.col2"), F.array().cast("array<double>")).alias("prediction"), "label"
    )
    return float(RankingEvaluator(metricName="ndcgAtK", k=K).evaluate(both))
