from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import make_config
from pyspark.sql import SparkSession

from jobs.datasets.sample import write_sample
from jobs.errors import MachineError
from jobs.input.read_ratings import read_ratings
from jobs.ratings.clean import clean_ratings
from jobs.ratings.collect import collect_ratings
from jobs.ratings.gather import account_rows
from jobs.ratings.index import IndexedRatings, index_ratings
from jobs.settings.train import TrainConfig
from jobs.stages.score import score_users
from jobs.stages.train import train_model
from recsys_core.model_form.item_model import ItemModel
from recsys_core.models.nmf import NmfModel

N_ITEMS = 80


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, users=150, items=N_ITEMS, ratings=4_000, seed=3)
    return directory / "ratings.csv"


@pytest.fixture
def arrow_batch_rows(spark: SparkSession) -> Iterator[None]:
    before = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    yield
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", before)


def index(spark: SparkSession, path: Path, n_partitions: int) -> IndexedRatings:
    config = make_config(path)
    rows = read_ratings(spark, config.input, config.clean).rows
    cleaned = clean_ratings(account_rows(rows, n_partitions), config.clean)
    return index_ratings(cleaned.ratings, cleaned.items)


def make_model(n_items: int) -> ItemModel:
    rng = np.random.default_rng(0)
    return NmfModel(rng.gamma(0.5, size=(n_items, 6)).astype(np.float32))


def test_rows_are_the_same_for_any_partitions_and_batches(
    spark: SparkSession, sample: Path, arrow_batch_rows: None
) -> None:
    results = []
    for n_partitions, batch_rows in ((1, 100_000), (3, 100), (16, 7)):
        spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", batch_rows)
        indexed = index(spark, sample, n_partitions)
        assert indexed.frame.rdd.getNumPartitions() == n_partitions
        matrix = collect_ratings(indexed.frame, len(indexed.index)).matrix
        lists = score_users(indexed.frame, make_model(N_ITEMS), indexed.index.item_ids, k=10)
        results.append((matrix, sorted(tuple(row) for row in lists.collect())))
        spark.catalog.clearCache()
    (first_matrix, first_rows), *others = results
    assert len(first_rows) == 150 * 10
    for matrix, rows in others:
        assert np.array_equal(matrix.indptr, first_matrix.indptr)
        assert np.array_equal(matrix.indices, first_matrix.indices)
        assert np.array_equal(matrix.data, first_matrix.data)
        assert rows == first_rows


def test_training_on_a_sample_draws_the_same_users_everywhere(
    spark: SparkSession, sample: Path
) -> None:
    few, again = (
        collect_ratings(index(spark, sample, n).frame, N_ITEMS, max_users=40, seed=1).matrix
        for n in (1, 3)
    )
    assert few.shape == (40, N_ITEMS)
    assert (few != again).nnz == 0
    indexed = index(spark, sample, 2)
    other = collect_ratings(indexed.frame, N_ITEMS, max_users=40, seed=2).matrix
    assert other.shape == few.shape
    assert (few != other).nnz > 0
    everyone = collect_ratings(indexed.frame, N_ITEMS).matrix
    assert {row.data.tobytes() for row in few} <= {row.data.tobytes() for row in everyone}
    more_than_there_are = collect_ratings(indexed.frame, N_ITEMS, max_users=10_000).matrix
    assert (everyone != more_than_there_are).nnz == 0


def test_lists_are_those_of_a_dense_float64_sort(spark: SparkSession, sample: Path) -> None:
    indexed = index(spark, sample, 2)
    model = make_model(N_ITEMS)
    rows = score_users(indexed.frame, model, indexed.index.item_ids, k=10).collect()
    matrix = collect_ratings(indexed.frame, N_ITEMS).matrix
    scores = model.fold_in(matrix).astype(np.float64) @ model.item_factors.T.astype(np.float64)
    scores[matrix.nonzero()] = -np.inf
    users = sorted({row["user_id"] for row in rows})
    for position, user in enumerate(users):
        mine = sorted((row for row in rows if row["user_id"] == user), key=lambda row: row["rank"])
        best = np.lexsort((np.arange(N_ITEMS), -scores[position]))[:10]
        assert [row["item_id"] for row in mine] == indexed.index.item_ids[best].tolist()
        assert np.allclose([row["score"] for row in mine], scores[position][best], rtol=1e-6)


def test_scoring_reads_the_cache_and_shuffles_nothing(spark: SparkSession, sample: Path) -> None:
    indexed = index(spark, sample, 2)
    lists = score_users(indexed.frame, make_model(N_ITEMS), indexed.index.item_ids, k=10)
    plan = lists._jdf.queryExecution().executedPlan().toString()
    above_cache = plan[: plan.index("InMemoryRelation")]
    assert "Exchange" not in above_cache
    assert "Sort" not in above_cache


def test_a_gpu_that_is_not_there_ends_the_training(spark: SparkSession, sample: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    indexed = index(spark, sample, 2)
    matrix = collect_ratings(indexed.frame, N_ITEMS).matrix
    with pytest.raises(MachineError, match=r"train\.device = 'cuda'.*no GPU"):
        train_model(matrix, TrainConfig(model="mf", device="cuda"))
