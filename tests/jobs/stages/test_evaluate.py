"""Evaluation within a night and beside it: what it measures, chooses and refuses."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from builders import checkerboard, make_config, write_csv
from core_examples import draw_ratings, make_mf
from nights import SampleNight
from pyspark.ml.evaluation import RankingEvaluator, RegressionEvaluator
from pyspark.sql import SparkSession

from jobs.errors import GateError, InputError
from jobs.experiments.bring_ratings import bring_ratings
from jobs.experiments.evaluation_table import tabulate_lists, tabulate_predictions, write_evaluation
from jobs.night.night import run_nightly
from jobs.ratings.hold_out import hold_out, hold_out_twice
from jobs.settings.config import Config
from jobs.stages.evaluate import EvaluationReport, evaluate_candidates
from jobs.stages.train import train_model
from recsys_core.evaluation.metrics import (
    measure_lists,
    measure_predictions,
    predict_ratings,
    rank_users,
)
from recsys_core.evaluation.splits import TimedRatings, hold_out_at_random
from recsys_core.models.registry import MODELS

NIGHT = date(2026, 11, 21)
SMALL = {
    "candidates": ["nmf", "ease"],
    "nmf": {"n_components": 8},
    "ease": {"n_factors": 40},
}
UNTRAINED = {"model": "mf", "mf": {"epochs": 1, "learning_rate": 1e-9}}


def make_sample_config(night: SampleNight, output: Path | str = "unused", **more: Any) -> Config:
    sections = {"clean": {"min_item_ratings": 5}, "train": SMALL, **more}
    return make_config(night.data / "ratings.csv", output, **sections)


def bring(spark: SparkSession, config: Config) -> TimedRatings:
    return bring_ratings(
        spark, config.input, config.clean, config.evaluate, config.train, config.spark
    )


def measure_models(spark: SparkSession, config: Config, models: list[str]) -> EvaluationReport:
    return evaluate_candidates(
        bring(spark, config),
        models,
        train_model,
        settings=config.train,
        rules=config.evaluate,
        rating_range=config.clean.rating_range,
    )


def test_ranking_metrics_are_those_of_spark(spark: SparkSession) -> None:
    split = hold_out_at_random(draw_ratings(60, 50, density=0.3), fraction=0.3, seed=0)
    lists = rank_users(make_mf(50), split.known, 10)
    measures = {(m.metric, m.k): m.value for m in measure_lists(lists, split.held_out, [5, 10])}
    assert np.diff(split.held_out.indptr).max() <= 10  # where Spark's map is trec_eval's
    rows = [
        (
            lists.item_index[lists.user_row == user].astype(float).tolist(),
            split.held_out[user].indices.astype(float).tolist(),
        )
        for user in range(split.known.shape[0])
    ]
    frame = spark.createDataFrame(rows, "prediction array<double>, label array<double>")
    names = {
        "ndcg": ("ndcgAtK", (5, 10)),
        "precision": ("precisionAtK", (5, 10)),
        "recall": ("recallAtK", (5, 10)),
        "map": ("meanAveragePrecisionAtK", (10,)),
    }
    for metric, (name, cutoffs) in names.items():
        for k in cutoffs:
            theirs = RankingEvaluator(metricName=name, k=k).evaluate(frame)
            assert measures[metric, k] == pytest.approx(theirs, rel=1e-5), metric


def test_rating_metrics_are_those_of_spark(spark: SparkSession) -> None:
    split = hold_out_at_random(draw_ratings(40, 30), fraction=0.3, seed=0)
    predicted = predict_ratings(make_mf(30, biases=True), split.known, split.held_out, (0.5, 5.0))
    pairs = zip(predicted.tolist(), split.held_out.data.tolist(), strict=True)
    frame = spark.createDataFrame(list(pairs), "prediction double, label double")
    for measure in measure_predictions(predicted, split.held_out):
        theirs = RegressionEvaluator(metricName=measure.metric).evaluate(frame)
        assert measure.value == pytest.approx(theirs, rel=1e-6)


@pytest.fixture(scope="module")
def auto_night(
    spark: SparkSession, sample_night: SampleNight, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The directory of a night whose model was chosen."""
    output = tmp_path_factory.mktemp("auto") / "out"
    config = make_sample_config(sample_night, output, train={**SMALL, "model": "auto"})
    run_nightly(spark, config, NIGHT)
    return output / "current"


def test_a_night_publishes_the_best_candidate_and_says_by_how_much(auto_night: Path) -> None:
    manifest = json.loads((auto_night / "manifest.json").read_text())
    table = pd.read_parquet(auto_night / "evaluation")
    account, training = manifest["evaluation"], manifest["training"]
    ndcg = table[(table["metric"] == "ndcg") & (table["k"] == 10)].set_index("model")["value"]
    assert set(ndcg.index) == {"nmf", "ease", "popularity", "item_mean"}
    assert training["model"] == account["best"] == ndcg[["nmf", "ease"]].idxmax()
    assert manifest["config"]["train"]["model"] == "auto"
    assert training["settings"] == manifest["config"]["train"][account["best"]]
    second = ndcg[["nmf", "ease"]].idxmin()
    margin = account["compared_with"][second]
    assert margin["difference"] == pytest.approx(ndcg.max() - ndcg[second])
    assert margin["low"] <= margin["difference"] <= margin["high"]
    # The model was then trained on all ratings, of which the split had held some out.
    assert account["training_ratings"] + account["held_out_ratings"] == training["n_ratings"]
    assert manifest["rows"]["evaluation"] == len(table)
    checks = {check["bound"]: check for check in manifest["gate"]["checks"]}
    assert checks["min_gain_over_popularity"]["value"] == pytest.approx(
        ndcg.max() - ndcg["popularity"], abs=1e-5
    )


def test_the_evaluation_is_a_table_like_the_others(auto_night: Path) -> None:
    table = pd.read_parquet(auto_night / "evaluation")
    assert list(table.columns) == ["model", "metric", "k", "value", "low", "high"]
    assert not table.duplicated(["model", "metric", "k"]).any()
    assert set(table["k"].dropna()) == {5, 10, 20}
    (file,) = (auto_night / "evaluation").glob("*.parquet")
    assert (
        b"run_id" in pq.read_metadata(file).metadata[b"org.apache.spark.sql.parquet.row.metadata"]
    )


def test_a_model_that_is_not_better_than_popularity_is_refused(
    spark: SparkSession, sample_night: SampleNight, tmp_path: Path
) -> None:
    config = make_sample_config(
        sample_night, tmp_path / "out", train=UNTRAINED, evaluate={"enabled": True}
    )
    with pytest.raises(GateError, match=r"gate\.min_gain_over_popularity = 0, the run has -0"):
        run_nightly(spark, config, NIGHT)
    assert not (tmp_path / "out" / "current").exists()


def test_without_an_evaluation_there_is_no_table_of_it(sample_night: SampleNight) -> None:
    assert sample_night.manifest["evaluation"] is None
    assert not (sample_night.output / "current" / "evaluation").exists()


def test_splits_by_time_hold_out_what_came_last(spark: SparkSession, tmp_path: Path) -> None:
    # User u rates items 0..9, each with the time of the last of a shuffled row: 3 is the latest.
    order = [5, 0, 9, 1, 8, 2, 7, 6, 4, 3]
    lines = [
        f"{user},{item},4.0,{1_000 + time}"
        for user in range(6)
        for time, item in enumerate(order)
        if (user + item) % 7
    ]
    ratings = write_csv(tmp_path / "ratings.csv", reversed(lines))
    for n_partitions in (1, 3):
        config = make_config(
            ratings,
            evaluate={"split": "latest", "latest": 2},
            spark={"shuffle_partitions": n_partitions},
        )
        timed = bring(spark, config)
        split = hold_out(timed, config.evaluate)
        for user in range(6):
            rated = [item for item in order if (user + item) % 7]
            assert sorted(split.held_out[user].indices) == sorted(rated[-2:])
        outer, inner = hold_out_twice(timed, config.evaluate)
        assert (outer.held_out != split.held_out).nnz == 0
        for user in range(6):
            rated = [item for item in order if (user + item) % 7]
            assert sorted(inner.held_out[user].indices) == sorted(rated[-4:-2])
    by_time = config.model_copy(
        update={"evaluate": config.evaluate.model_copy(update={"split": "time"})}
    )
    assert set(hold_out(timed, by_time.evaluate).held_out.indices) == {3, 4}


def test_a_split_by_time_needs_times(spark: SparkSession, tmp_path: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in checkerboard()]
    ratings = write_csv(tmp_path / "ratings.csv", lines, header="userId,movieId,rating")
    config = make_config(ratings, evaluate={"split": "time"})
    with pytest.raises(InputError, match=r"evaluate\.split = 'time' needs the time of each"):
        measure_models(spark, config, ["nmf"])


def test_a_split_that_leaves_nothing_to_measure_says_what_to_change(
    spark: SparkSession, tmp_path: Path
) -> None:
    ratings = write_csv(tmp_path / "ratings.csv", checkerboard())
    config = make_config(ratings, evaluate={"split": "latest", "latest": 99})
    with pytest.raises(InputError, match=r"evaluate\.split = 'latest' leaves nothing.*latest"):
        measure_models(spark, config, ["nmf"])


def test_models_are_measured_side_by_side_and_written_down(
    spark: SparkSession, sample_night: SampleNight, tmp_path: Path
) -> None:
    train = {**SMALL, "mf": {"epochs": 20, "learning_rate": 0.01, "batch_size": 512}}
    config = make_sample_config(sample_night, train=train, evaluate={"split": "new_users"})
    report = measure_models(spark, config, list(MODELS))
    assert list(report.evaluation.metrics) == [*MODELS, "popularity", "item_mean"]
    write_evaluation(report, tmp_path / "results")
    table = pd.read_parquet(tmp_path / "results" / "evaluation.parquet")
    pd.testing.assert_frame_equal(table, report.to_table())
    account = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    assert account == json.loads(json.dumps(report.describe()))
    assert account["users"] == round(0.2 * 120)
    lists = tabulate_lists(report, 10)
    assert lists.row_count == 2 * (len(MODELS) + 2)  # of any rating, and of what was liked
    predictions = tabulate_predictions(report)
    assert predictions is not None
    assert list(predictions.columns[0].cells) == ["mf", "item_mean"]
