"""What ``inspect --user`` reads of the ratings, and what it does not need for that."""

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from paths import ROOT

from jobs.ask.inspect import read_user_ratings
from jobs.errors import ConfigError, InputError
from recsys_core.items.catalog import ItemCatalog
from recsys_core.items.index import ItemIndex
from recsys_core.models.nmf import NmfModel
from recsys_core.query.saved_model import SavedModel, encode_model

COLUMNS = {"user": "who", "item": "what", "rating": "stars", "timestamp": "when", "separator": ";"}
LINES = [
    "1;20;2.0;90;x",
    "1;10;5.0;100;x",
    "1;10;3.0;2000;x",  # the latest, though lower, and though less as text
    "1;10;4.0;;x",
    "1; 30 ;1.5;;x",  # the higher of those without a time
    "1;30;1.0;;x",
    "1;40;1.0;1970-01-01 00:00:07;x",
    "1;40;4.0;6;x",
    "1;50;9.0;1;x",  # out of range
    "1;50;none;1;x",
    "1;99;4.0;1;x",  # no item of the model
    "1;50;4.0;1",  # a field is missing
    "11;50;4.0;1;x",
]
FOUND = {0: 3.0, 1: 2.0, 2: 1.5, 3: 1.0}


def make_saved(files: list[Path], **columns: Any) -> SavedModel:
    catalog = ItemCatalog(
        ItemIndex.from_ids([10, 20, 30, 40, 50]),
        [None] * 5,
        [None] * 5,
        np.full(5, 2),
        np.full(5, 3.0),
        [],
    )
    facts = {
        "run_id": "2026-11-21-20261121T000000-abcdef",
        "n_users": 2,
        "n_ratings": 9,
        "losses": [],
        "figures": {},
        "rating_range": [0.5, 5.0],
        "rating_files": [f"file:{file}" for file in files],
        "columns": {**COLUMNS, **columns},
    }
    factors = np.random.default_rng(0).random((5, 2)).astype(np.float32)
    return SavedModel(NmfModel(factors), catalog, facts)


def write_lines(file: Path, lines: list[str]) -> Path:
    text = "\n".join(["who;what;stars;when;more", *lines]) + "\n"
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


def test_a_user_has_the_ratings_that_count_from_all_files(tmp_path: Path) -> None:
    for split in range(len(LINES)):
        first = write_lines(tmp_path / "a.csv", LINES[split:])
        second = write_lines(tmp_path / "b.csv.gz", LINES[:split])
        assert read_user_ratings(make_saved([first, second]), "1") == FOUND


def test_a_column_of_times_need_not_be_there(tmp_path: Path) -> None:
    saved = make_saved([write_lines(tmp_path / "a.csv", LINES)], timestamp=None)
    assert read_user_ratings(saved, "1") == {**FOUND, 0: 5.0, 3: 4.0}


@pytest.mark.parametrize("time", [int, lambda seconds: datetime.fromtimestamp(seconds, UTC)])
def test_parquet_is_read_in_its_own_types(tmp_path: Path, time: Any) -> None:
    rows = [(1, 10, 5.0, time(100)), (1, 10, 3.0, time(2000)), (11, 20, 1.0, time(1))]
    pd.DataFrame(rows, columns=["who", "what", "stars", "when"]).to_parquet(tmp_path / "a.parquet")
    assert read_user_ratings(make_saved([tmp_path / "a.parquet"]), "1") == {0: 3.0}


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_what_cannot_be_answered_is_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with pytest.raises(InputError, match="not here: "):
        read_user_ratings(make_saved([file]), "1")
    if name == "a.csv":
        write_lines(file, LINES)
    else:
        pd.DataFrame({"who": [1], "what": [10], "stars": [3.0], "when": [1]}).to_parquet(file)
    with pytest.raises(ConfigError, match="--user 7: no rating of an item in this model"):
        read_user_ratings(make_saved([file]), "7")
    with pytest.raises(InputError, match="cannot be read as it was for training"):
        read_user_ratings(make_saved([file], rating="marks"), "1")


ASK_WITHOUT_SPARK = """
import json, sys
from jobs.cli.main import main
main(["inspect", "--model", sys.argv[1], "--user", "1"], standalone_mode=False)
print(json.dumps(sorted({"pyspark", "py4j"} & {name.partition(".")[0] for name in sys.modules})))
"""


def test_inspect_brings_no_spark(tmp_path: Path) -> None:
    saved = make_saved([write_lines(tmp_path / "ratings.csv", LINES)])
    directory = tmp_path / "model"
    directory.mkdir()
    for name, data in encode_model(saved).items():
        (directory / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", ASK_WITHOUT_SPARK, str(directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    *_, brought = done.stdout.splitlines()
    assert "user 1: 4 ratings in R" in done.stdout
    assert json.loads(brought) == []
