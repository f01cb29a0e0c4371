import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import HEADER, make_config, write_csv
from pyspark.sql import SparkSession

from jobs.errors import InputError
from jobs.input.id_types import _guess_id_type
from jobs.input.read_items import read_items
from jobs.input.read_ratings import read_ratings


def read(spark: SparkSession, path: Path | str, **input_settings: Any) -> list[tuple[Any, ...]]:
    """(user_id, item_id, rating, timestamp, reason) of every row, sorted as text."""
    config = make_config(path, input=input_settings)
    rows = read_ratings(spark, config.input, config.clean).rows
    columns = ("user_id", "item_id", "rating", "timestamp", "reason")
    return sorted((tuple(row) for row in rows.select(*columns).collect()), key=str)


GOOD = (1, 2, 3.5, 100, None)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (HEADER, "1,2,3.5,100"),
        ("rating,timestamp,movieId,userId", "3.5,100,2,1"),
        ("x,movieId,rating,y,userId,timestamp", "9,2,3.5,9,1,100"),
        ("\ufeffuserId,movieId,rating,timestamp", "1,2,3.5,100"),
        (" userId , movieId,rating,timestamp\r", "1,2,3.5,100\r"),
        ('"userId","movieId","rating","timestamp"', '"1","2","3.5","100"'),
    ],
    ids=["as MovieLens", "swapped", "extra columns", "byte order mark", "CRLF", "quoted"],
)
def test_columns_are_bound_by_name(
    spark: SparkSession, tmp_path: Path, header: str, line: str
) -> None:
    assert read(spark, write_csv(tmp_path / "r.csv", [line], header)) == [GOOD]


def test_files_of_a_directory_may_order_their_columns_differently(
    spark: SparkSession, tmp_path: Path
) -> None:
    write_csv(tmp_path / "a.csv", ["1,2,3.5,100"])
    write_csv(tmp_path / "b.csv", ["3.5,100,2,1"], "rating,timestamp,movieId,userId")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n1,2,3.5,100\n".encode()))
    (tmp_path / "empty.csv").write_text("")
    assert read(spark, tmp_path) == [GOOD] * 3
    assert read(spark, f"{tmp_path}/[ab].csv") == [GOOD] * 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3.5", "malformed row"),
        ("1,2,3.5,100,7", "malformed row"),
        (",2,3.5,100", "empty user id"),
        ("  ,2,3.5,100", "empty user id"),
        ("1,,3.5,100", "empty item id"),
        ("x1,2,3.5,100", "user id is not a 64-bit integer"),
        ("1,2.0,3.5,100", "item id is not a 64-bit integer"),
        ("9223372036854775808,2,3.5,100", "user id is not a 64-bit integer"),
        ("007,2,3.5,100", "user id is not a 64-bit integer"),
        ("1,2,,100", "empty rating"),
        ("1,2,good,100", "rating is not a number"),
        ("1,2,4.5f,100", "rating is not a number"),
        ("1,2,NaN,100", "rating is NaN"),
        ("1,2,Infinity,100", "rating is infinite"),
        ("1,2,-Infinity,100", "rating is infinite"),
        ("1,2,1e13,100", "rating outside 0.5 to 5"),
        ("1,2,-1,100", "rating outside 0.5 to 5"),
        ("1,2,0,100", "rating outside 0.5 to 5"),
        ("1,2,3.5,yesterday", "timestamp is not a time"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_raw_text_and_file(
    spark: SparkSession, tmp_path: Path, line: str, reason: str
) -> None:
    file = write_csv(tmp_path / "r.csv", ["1,2,3.5,100", line])
    config = make_config(file, input={"user_id_type": "integer", "item_id_type": "integer"})
    rows = read_ratings(spark, config.input, config.clean).rows
    [bad] = rows.where("reason is not null").collect()
    assert (bad["reason"], bad["raw"]) == (reason, line)
    assert bad["file"].endswith("/r.csv")
    assert rows.where("reason is null").count() == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("9223372036854775807,-5,0.5,", (9223372036854775807, -5, 0.5, None, None)),
        ("1,2,5.0,1970-01-01 00:01:40", (1, 2, 5.0, 100, None)),
        ("1,2, 3.5 ,100", GOOD),
    ],
    ids=["64-bit ids, no time", "time as text", "blanks"],
)
def test_unusual_but_valid_rows(
    spark: SparkSession, tmp_path: Path, line: str, expected: tuple[Any, ...]
) -> None:
    file = write_csv(tmp_path / "r.csv", [line])
    assert read(spark, file, user_id_type="integer", item_id_type="integer") == [expected]


def test_ids_come_out_in_the_type_they_came_in(spark: SparkSession, tmp_path: Path) -> None:
    text = write_csv(tmp_path / "text.csv", ["u1,007,3.5,100"])
    assert read(spark, text) == [("u1", "007", 3.5, 100, None)]
    frame = pd.DataFrame({"userId": [1], "movieId": ["007"], "rating": [3.5], "timestamp": [100]})
    frame.astype({"userId": "int32", "rating": "float32"}).to_parquet(tmp_path / "r.parquet")
    assert read(spark, tmp_path / "r.parquet") == [(1, "007", 3.5, 100, None)]


def test_parquet_values_are_checked_as_well(spark: SparkSession, tmp_path: Path) -> None:
    frame = pd.DataFrame({"rating": [3.5, float("nan"), None, 9.0], "userId": 1, "movieId": 2})
    frame["timestamp"] = pd.Timestamp(100, unit="s")
    frame.astype({"timestamp": "datetime64[us]"}).to_parquet(tmp_path / "r.parquet")
    found = [row[4] for row in read(spark, tmp_path / "r.parquet")]
    assert sorted(map(str, found)) == [
        "None",
        "empty rating",
        "empty rating",
        "rating outside 0.5 to 5",
    ]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (["1", "22"], "integer"),
        (["1", "2", "x", ""], "integer"),
        (["x", "y", "3"], "string"),
        (["1", "007"], "string"),
        (["0", "-5"], "integer"),
        ([], "integer"),
    ],
)
def test_the_type_of_csv_ids_is_guessed_from_most_of_a_sample(
    sample: list[str], expected: str
) -> None:
    assert _guess_id_type(sample) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "the file is empty"),
        ("\n\n", "no header line"),
        ("userId,movieId,timestamp\n1,2,3\n", "no column 'rating' .it has: userId, movieId, time"),
        ("1,2,3\n4,5,3\n", "no column 'userId': the first line holds numbers, and is no header"),
        ("userId,userId,rating\n1,2,3\n", "names column 'userId' more than once"),
    ],
    ids=["missing", "zero bytes", "blank", "no rating column", "no header", "column twice"],
)
def test_a_file_that_cannot_be_ratings_is_refused(
    spark: SparkSession, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "r.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read(spark, file)
    assert "r.csv" in str(error.value)


def test_a_column_that_is_configured_must_exist(spark: SparkSession, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "r.csv", ["1,2,3.5"], "userId,movieId,rating")
    assert read(spark, file) == [(1, 2, 3.5, None, None)]
    with pytest.raises(InputError, match=r"no column 'timestamp'.*input\.columns\.timestamp"):
        read(spark, file, columns={"timestamp": "timestamp"})


def test_a_parquet_column_of_another_kind_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    pd.DataFrame({"userId": [1.5], "movieId": [2], "rating": [3.5]}).to_parquet(
        tmp_path / "r.parquet"
    )
    with pytest.raises(InputError, match=r"column 'userId' is double; user ids must be integers"):
        read(spark, tmp_path / "r.parquet")


def test_items_keep_commas_quotes_and_newlines(
    spark: SparkSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    titles = (
        'movieId,title,genres\n1,"Matrix, The ""one""\n(1999)",Action\n2,Heat (1995),\nx,Bad,\n'
    )
    (tmp_path / "m.csv").write_text(titles + "2,Aardvark (2000),Drama\n")
    config = make_config("unused", input={"items": str(tmp_path / "m.csv")})
    items = read_items(spark, config.input, "integer").items
    assert items["item_id"].tolist() == [1, 2]
    assert items["title"].tolist() == ['Matrix, The "one"\n(1999)', "Aardvark (2000)"]
    assert items["genres"].tolist() == ["Action", "Drama"]
    assert "input.items: 1 of 4 rows have no usable id" in caplog.text
