"""The sample as the two CSV files of MovieLens."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow.csv import CSVWriter, WriteOptions
from tqdm import tqdm

from recsys_core.sample.generator import RatingChunk, SampleItems, iter_ratings, make_items

RATING_SCHEMA = pa.schema(
    {
        "userId": pa.int64(),
        "movieId": pa.int64(),
        "rating": pa.decimal128(2, 1),  # a float would be written as 4, not as 4.0
        "timestamp": pa.int64(),
    }
)
MOVIE_COLUMNS = ("movieId", "title", "genres")


def write_sample(output: Path, *, users: int, items: int, ratings: int, seed: int) -> None:
    """Write ``ratings.csv`` and ``movies.csv`` into ``output`` once both are whole.

    Raises:
        ValueError: the sizes cannot be met; nothing is written.
    """
    catalogue = make_items(items, seed=seed)
    chunks = iter_ratings(users, ratings, catalogue, seed=seed)
    output.mkdir(parents=True, exist_ok=True)
    with (
        _replace_when_complete(output / "movies.csv") as movies_path,
        _replace_when_complete(output / "ratings.csv") as ratings_path,
    ):
        _write_movies(movies_path, catalogue)
        _write_ratings(ratings_path, chunks, n_ratings=ratings)


@contextmanager
def _replace_when_complete(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place unless the body fails."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_movies(path: Path, catalogue: SampleItems) -> None:
    rows = zip(catalogue.item_id.tolist(), catalogue.title, catalogue.genres, strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")  # quotes only where needed; pyarrow cannot
        writer.writerow(MOVIE_COLUMNS)
        writer.writerows(rows)


def _write_ratings(path: Path, chunks: Iterator[RatingChunk], *, n_ratings: int) -> None:
    options = WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file, tqdm(total=n_ratings, unit_scale=True, disable=None) as progress:
        file.write((",".join(RATING_SCHEMA.names) + "\n").encode())
        with CSVWriter(file, RATING_SCHEMA, write_options=options) as writer:
            for chunk in chunks:
                writer.write_table(_to_table(chunk))
                progress.update(len(chunk.user_id))


def _to_table(chunk: RatingChunk) -> pa.Table:
    columns = (chunk.user_id, chunk.item_id, chunk.rating, chunk.timestamp)
    arrays = [pa.array(column) for column in columns]
    return pa.table(
        [array.cast(kind) for array, kind in zip(arrays, RATING_SCHEMA.types, strict=True)],
        schema=RATING_SCHEMA,
    )
