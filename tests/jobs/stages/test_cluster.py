"""Numbers of clusters that last from night to night, and what is said of them."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from builders import STORAGES
from core_examples import make_nmf
from nights import SampleNight
from pyspark.sql import SparkSession
from pyspark.sql.types import LongType, StringType

from jobs.errors import InputError
from jobs.runs.run import Run
from jobs.runs.staged import StagedRun
from jobs.settings.cluster import ClusterConfig
from jobs.stages.cluster import (
    EarlierClusters,
    describe_clusters,
    label_items,
    read_earlier_clusters,
)
from jobs.stages.item_catalog import add_titles
from jobs.tables.published import ITEM_CLUSTERS
from recsys_core.items.catalog import ItemCatalog
from recsys_core.items.cluster_metrics import ClusterMetric
from recsys_core.items.clustering import cluster_items
from recsys_core.items.index import ItemIndex
from recsys_core.models.nmf import NmfModel

N_ITEMS = 12


def make_catalog(item_ids: list[int] | list[str], title: str | None = None) -> ItemCatalog:
    ones = np.ones(len(item_ids))
    nothing: list[str | None] = [None] * len(item_ids)
    titles = [title] * len(item_ids)
    counts = np.arange(len(item_ids)) + 1
    return ItemCatalog(ItemIndex.from_ids(item_ids), titles, nothing, counts, ones)


def label(
    item_ids: list[int] | list[str],
    n_clusters: int | str = 3,
    earlier: EarlierClusters | None = None,
    **settings: object,
) -> list[int]:
    config = ClusterConfig.model_validate({"n_clusters": n_clusters, **settings})
    labelled = label_items(make_nmf(len(item_ids)), make_catalog(item_ids), config, earlier)
    return [*labelled.rows["cluster"]]


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "text"])
def test_labels_continue_those_of_the_earlier_run(as_text: bool) -> None:
    ids = [f"{item}" for item in range(10, 10 + N_ITEMS)]
    first = label([int(item) for item in ids])
    renamed = {item: 9 - cluster for item, cluster in zip(ids, first, strict=True)}
    now = [*ids] if as_text else [int(item) for item in ids]
    known = {int(item): cluster for item, cluster in renamed.items()}  # always numbers
    assert label(now, earlier=EarlierClusters("before", known)) == [9 - label for label in first]
    strangers = {item + 1_000: cluster for item, cluster in known.items()}
    for nothing in ({}, strangers):
        assert label(now, earlier=EarlierClusters("before", nothing)) == first


def test_a_night_says_how_stable_its_clusters_are(caplog: pytest.LogCaptureFixture) -> None:
    ids = [*range(N_ITEMS)]
    config = ClusterConfig(n_clusters=3)
    first = dict(zip(ids, label(ids), strict=True))
    moved = {**first, 0: next(other for other in (0, 1, 2) if other != first[0])}
    del moved[N_ITEMS - 1]
    with caplog.at_level(logging.INFO, "jobs.stages.cluster"):
        labelled = label_items(
            make_nmf(N_ITEMS), make_catalog(ids), config, EarlierClusters("before", moved)
        )
        stability = describe_clusters(labelled, config)["stability"]
    assert stability["compared_with"] == "before"
    assert (stability["shared_items"], stability["moved_items"]) == (N_ITEMS - 1, 1)
    assert 0 < stability["adjusted_rand_index"] < 1
    assert "clusters keep the numbers of run before: 1 of 11 items moved" in caplog.text
    alone = label_items(make_nmf(N_ITEMS), make_catalog(ids), config)
    assert describe_clusters(alone, config)["stability"] == {
        "compared_with": None,
        "shared_items": 0,
        "moved_items": 0,
        "adjusted_rand_index": None,
    }


def test_numbers_of_clusters_that_cannot_be_are_passed_over_or_told() -> None:
    ids = [*range(N_ITEMS)]
    assert len({*label(ids, "choose", choose_from=[2, 12, 900])}) == 2
    with pytest.raises(InputError, match=r"choose_from = \[12, 40\], but only 12 items are left"):
        label(ids, "choose", choose_from=[12, 40])
    with pytest.raises(InputError, match="n_clusters = 13, but only 12 items are left"):
        label(ids, 13)


@pytest.mark.parametrize("n_clusters", [3, "choose"])
def test_the_metric_is_that_of_the_settings(n_clusters: int | str) -> None:
    short = make_nmf(N_ITEMS).item_factors
    model = NmfModel(short * np.float32(2) ** np.arange(N_ITEMS, dtype=np.float32)[:, None])
    distances = {
        metric: label_items(
            model,
            make_catalog([*range(N_ITEMS)]),
            ClusterConfig.model_validate(
                {"n_clusters": n_clusters, "choose_from": [3], "metric": metric}
            ),
        ).rows["distance"]
        for metric in get_args(ClusterMetric)
    }
    for metric, found in distances.items():
        expected = cluster_items(model.item_embeddings, n_clusters=3, metric=metric, seed=42)
        assert found.tolist() == expected.distance.tolist()
    assert distances["euclidean"].max() > 2 >= distances["cosine"].max()


def test_a_title_cannot_speak_to_the_terminal_through_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = ClusterConfig(n_clusters=1)
    labelled = label_items(make_nmf(2), make_catalog([1, 2], "\x1b[2Jgone"), config)
    with caplog.at_level(logging.INFO, "jobs.stages.cluster"):
        described = describe_clusters(labelled, config)
    assert described["names"] == {0: "\x1b[2Jgone"}  # data, as the titles are
    assert "\ufffd[2Jgone (2 items)" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("kind", STORAGES)
@pytest.mark.parametrize("id_type", [LongType(), StringType()], ids=["bigint", "string"])
def test_the_labels_of_an_earlier_run_are_read(
    spark: SparkSession, tmp_path: Path, kind: str, id_type: LongType | StringType
) -> None:
    ids: list[int] | list[str] = [7, 9] if id_type == LongType() else ["7", "9"]
    config = ClusterConfig(n_clusters=2)
    rows = label_items(make_nmf(2), make_catalog(ids), config).rows
    storage = STORAGES[kind](spark, tmp_path / "out")
    storage.check_writable()
    staged = StagedRun(storage, Run.from_id("2026-11-21-20261121T000000-000000"))
    staged.write_local_table(spark, ITEM_CLUSTERS, rows, id_type)
    found = read_earlier_clusters(spark, staged.table_uri(ITEM_CLUSTERS), "before")
    expected = dict(zip(ids, rows["cluster"].tolist(), strict=True))
    assert found == EarlierClusters("before", expected)


@pytest.mark.parametrize("fault", ["gone", "empty", "cut off", "garbage", "other columns", "words"])
def test_labels_that_cannot_be_read_are_one_warning(
    spark: SparkSession,
    sample_night: SampleNight,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    table = tmp_path / "item_clusters"
    shutil.copytree(sample_night.output / "current" / "item_clusters", table)
    file = next(table.iterdir())
    if fault == "gone":
        shutil.rmtree(table)
    elif fault == "empty":
        file.unlink()
    elif fault == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    elif fault == "garbage":
        data = bytearray(file.read_bytes())
        data[4:1_000] = b"\xff" * 996
        file.write_bytes(bytes(data))
    elif fault == "other columns":
        pd.DataFrame({"item_id": [1]}).to_parquet(file)
    else:
        pd.DataFrame({"item_id": [1], "cluster": ["one"]}).to_parquet(file)
    with caplog.at_level(logging.WARNING):
        assert read_earlier_clusters(spark, f"file:{table}", "before") is None
    mine = [record for record in caplog.records if record.name == "jobs.stages.cluster"]
    assert [record.getMessage() for record in mine] == [
        f"file:{table} cannot be read: clusters are numbered anew"
    ]


def read_clusters(output: Path, run_id: str) -> pd.DataFrame:
    return pd.read_parquet(output / "runs" / run_id / "item_clusters").set_index("item_id")


def test_a_night_keeps_the_numbers_of_the_current_run(
    sample_night: SampleNight, next_night: SampleNight
) -> None:
    before = read_clusters(next_night.output, sample_night.manifest["run_id"])["cluster"]
    after = read_clusters(next_night.output, next_night.manifest["run_id"])["cluster"]
    both = before.to_frame("before").join(after.rename("after"), how="inner")
    manifest = json.loads((next_night.output / "current" / "manifest.json").read_text())
    described = manifest["clusters"]
    stability = described["stability"]
    assert stability["compared_with"] == sample_night.manifest["run_id"]
    assert 0 < len(both) == stability["shared_items"] < len(before)
    assert stability["moved_items"] == (both["before"] != both["after"]).sum()
    # More items stay than under any exchange of two numbers.
    labels = sorted(set(after))
    for one in labels:
        for other in labels:
            swapped = both["after"].replace({one: other, other: one})
            assert (both["before"] != swapped).sum() >= stability["moved_items"]
    # Which of the numbers is best is the sample's affair; 500 cannot be.
    assert list(described["silhouettes"]) == ["4", "12"]
    best = max(described["silhouettes"], key=described["silhouettes"].__getitem__)
    assert described["n_clusters"] == len(labels) == int(best)
    first = sample_night.manifest["clusters"]
    assert (first["n_clusters"], first["silhouettes"]) == (10, {})
    assert first["stability"]["compared_with"] is None


def test_clusters_have_names_in_table_and_manifest(sample_night: SampleNight) -> None:
    clusters = pd.read_parquet(sample_night.output / "current" / "item_clusters")
    names = clusters.groupby("cluster")["cluster_name"].unique()
    assert {label: [*of] for label, of in names.items()} == {
        label: [name] for label, name in sample_night.manifest["clusters"]["names"].items()
    }
    for label, members in clusters.groupby("cluster"):
        ranked = members.sort_values(["rating_count", "item_id"], ascending=[False, True])
        well_known = ranked.head(-(-len(ranked) // 3)).sort_values(["distance", "item_id"])
        assert names[label][0].endswith(well_known["title"].iloc[0])
    assert any(": " in of[0] for of in names)  # with genres before the title
    assert clusters["distance"].between(0, 2).all()  # of factors of length one


def test_lists_carry_titles_where_asked_for(
    sample_night: SampleNight, next_night: SampleNight
) -> None:
    lists = pd.read_parquet(next_night.output / "current" / "recommendations")
    assert [*lists.columns] == ["user_id", "rank", "item_id", "score", "source", "title"]
    titles = read_clusters(next_night.output, next_night.manifest["run_id"])["title"]
    assert lists["title"].tolist() == titles[lists["item_id"]].tolist()
    # The audit and the gate looked at these files.
    assert next_night.manifest["rows"]["recommendations"] == len(lists)
    assert next_night.manifest["gate"]["compared_with"] == sample_night.manifest["run_id"]
    assert next_night.manifest["state"] == "published"
    plain = pd.read_parquet(sample_night.output / "current" / "recommendations")
    assert "title" not in plain


@pytest.mark.parametrize("id_type", ["bigint", "int", "string"])
@pytest.mark.parametrize("titles", [["a", None], [None, None]], ids=["some", "none"])
def test_an_item_without_a_title_has_null_beside_it(
    spark: SparkSession, id_type: str, titles: list[str | None]
) -> None:
    ids = ["10", "11"] if id_type == "string" else [10, 11]
    catalog = replace(make_catalog(ids), titles=titles)
    rows = [(1, ids[1]), (2, ids[0]), (3, ids[1])]
    lists = spark.createDataFrame(rows, f"user_id bigint, item_id {id_type}")
    titled = add_titles(lists, catalog)
    assert titled.schema["item_id"].dataType.simpleString() == id_type
    found = [(row["item_id"], row["title"]) for row in titled.collect()]
    assert found == [(item, titles[ids.index(item)]) for _, item in rows]
