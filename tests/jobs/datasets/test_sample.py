"""The sample's two files: MovieLens' columns, whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.datasets import sample
from jobs.datasets.sample import write_sample
from recsys_core.sample.generator import RatingChunk, iter_ratings, make_items

SIZES = {"users": 40, "items": 80, "ratings": 1_500}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "new" / "folder"
    write_sample(path, **SIZES, seed=0)
    return path


def test_the_folder_holds_two_files_and_nothing_else(output: Path) -> None:
    assert sorted(path.name for path in output.iterdir()) == ["movies.csv", "ratings.csv"]


def test_ratings_come_back_as_they_were_drawn(output: Path) -> None:
    read = pd.read_csv(output / "ratings.csv")
    drawn = next(iter_ratings(40, 1_500, make_items(80, seed=0), seed=0))
    assert list(read.columns) == ["userId", "movieId", "rating", "timestamp"]
    assert len(read) == 1_500
    for column, values in zip(
        read, (drawn.user_id, drawn.item_id, drawn.rating, drawn.timestamp), strict=True
    ):
        assert np.array_equal(read[column], values)


def test_movies_come_back_as_they_were_drawn(output: Path) -> None:
    read = pd.read_csv(output / "movies.csv")
    items = make_items(80, seed=0)
    assert list(read.columns) == ["movieId", "title", "genres"]
    assert read["movieId"].tolist() == items.item_id.tolist()
    assert read["title"].tolist() == items.title
    assert read["genres"].tolist() == items.genres


def test_text_is_written_as_movielens_writes_it(output: Path) -> None:
    ratings = (output / "ratings.csv").read_bytes().decode()
    assert ratings.startswith("userId,movieId,rating,timestamp\n1,")
    stars = {line.split(",")[2] for line in ratings.splitlines()[1:]}
    assert stars <= {f"{half / 2:.1f}" for half in range(1, 11)}
    assert '"' not in ratings
    assert "\r" not in ratings
    movies = (output / "movies.csv").read_text().splitlines()[1:]
    assert any('"' in line for line in movies)
    assert all(('"' in line) == (", The" in line) for line in movies)


def test_the_same_seed_writes_the_same_bytes(output: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "again", **SIZES, seed=0)
    write_sample(tmp_path / "other", **SIZES, seed=1)
    for name in ("ratings.csv", "movies.csv"):
        first = (output / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first
        assert (tmp_path / "other" / name).read_bytes() != first


def test_an_impossible_size_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fit 2 users x 3 items"):
        write_sample(tmp_path / "sample", users=2, items=3, ratings=7, seed=0)
    assert not (tmp_path / "sample").exists()


def test_a_failure_midway_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_after_one(*sizes: object, **options: object) -> Iterator[RatingChunk]:
        yield next(iter_ratings(40, 1_500, make_items(80, seed=0), seed=0))
        raise OSError("disk full")

    write_sample(tmp_path, **SIZES, seed=0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(sample, "iter_ratings", fail_after_one)
    with pytest.raises(OSError, match="disk full"):
        write_sample(tmp_path, **SIZES, seed=1)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
