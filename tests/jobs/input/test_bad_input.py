"""Bad input, one by one: what is refused, with which count and message, and what is published."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import HEADER, checkerboard, make_config, write_csv
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.errors import InputError, JobError, MachineError
from jobs.input.read_items import read_items
from jobs.input.read_ratings import read_ratings
from jobs.night.night import PublishedRun, run_nightly
from jobs.process.failures import explain_failures
from recsys_core.query.saved_model import FILES

NIGHT = date(2026, 11, 21)
GOOD = ("1", "2", 3.5, 100)
BOTH_TEXT = {"user_id_type": "string", "item_id_type": "string"}
BOTH_INTEGER = {"user_id_type": "integer", "item_id_type": "integer"}


# --- Rows: read together, in one Spark job ------------------------------------------------------


def lines(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


def table(**columns: Any) -> bytes:
    """A Parquet file of these columns."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def not_utf8(text: bytes) -> pa.Array:
    """A string array of one value that is no UTF-8, as a careless writer leaves it in Parquet."""
    offsets = pa.array([0, len(text)], pa.int32()).buffers()[1]
    return pa.StringArray.from_buffers(1, offsets, pa.py_buffer(text))


@dataclass(frozen=True)
class RowCase:
    name: str
    files: Mapping[str, bytes]
    valid: list[tuple[Any, ...]] = field(default_factory=list)
    """user, item, rating, time; ids as text."""
    refused: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by reason."""
    settings: dict[str, Any] = field(default_factory=dict)


def csv_case(
    name: str,
    *rows: str,
    valid: list[tuple[Any, ...]] | None = None,
    refused: dict[str, int] | None = None,
    header: str = HEADER,
    **settings: Any,
) -> RowCase:
    files = {"r.csv": lines(*rows, header=header)}
    return RowCase(name, files, valid or [], refused or {}, settings)


WITH_REVIEW = f"{HEADER},review"

ROW_CASES = [
    csv_case(
        "a missing column without a use, and one too many",
        "1,2,3.5,x",
        valid=[("1", "2", 3.5, None)],
        header="userId,movieId,rating,comment",
    ),
    csv_case(
        "quoted commas and doubled quotes in a column without a use",
        '1,2,3.5,100,"nice, really"',
        '1,3,3.5,100,"he said ""wow"""',
        '1,4,3.5,100,"",',
        valid=[("1", "2", 3.5, 100), ("1", "3", 3.5, 100)],
        refused={"malformed row": 1},
        header=WITH_REVIEW,
    ),
    csv_case(
        "a quoted line end: the row it begins in stands, what looks like the next one does not",
        '1,2,3.5,100,"nice',
        '6,6,5.0,100,indeed"',
        "1,3,3.5,100,good",
        valid=[GOOD, ("1", "3", 3.5, 100)],
        refused={"malformed row": 1},
        header=WITH_REVIEW,
    ),
    csv_case(
        "a quote that is never closed",
        '1,"2,3.5,100',
        '"1,2,3.5,100',
        "1,2,3.5,100",
        valid=[GOOD],
        refused={"malformed row": 2},
        **BOTH_TEXT,
    ),
    csv_case(
        "short rows, a long one, and one of 30,000 fields",
        "1",
        "1,2,3.5",
        "1,2,3.5,100,1",
        "1," * 30_000,
        "1,2,3.5,100",
        valid=[GOOD],
        refused={"malformed row": 4},
    ),
    csv_case(
        "blank lines are not rows",
        "",
        "   ",
        "\t",
        "1,2,3.5,100",
        ",,,",
        valid=[GOOD],
        refused={"empty user id": 1},
    ),
    csv_case(
        "what Java alone takes for a number",
        *(f"1,2,{rating},100" for rating in ("0x1p1", "0X1.8P0", "2d", "2F", "2.f", "3.5")),
        valid=[GOOD],
        refused={"rating is not a number": 5},
    ),
    csv_case(
        "letters and other people's digits in numbers",
        *(f"1,2,{rating},100" for rating in ("abc", "3,5", "1_0", "٣", "3..5", "--3", "3.5e")),
        refused={"rating is not a number": 6, "malformed row": 1},
    ),
    csv_case(
        "numbers beyond reason",
        *(f"1,2,{rating},100" for rating in ("1e13", "-1", "0", "1e999", "-inf", "nAn", "5.0001")),
        "1,2,5e0,100",
        "1,2,+0.5,100",
        valid=[("1", "2", 5.0, 100), ("1", "2", 0.5, 100)],
        refused={"rating outside 0.5 to 5": 4, "rating is infinite": 2, "rating is NaN": 1},
    ),
    csv_case(
        "ids beyond 64 bits, and codes among integers",
        "9223372036854775807,-9223372036854775808,3.5,100",
        "9223372036854775808,2,3.5,100",
        "1,-9223372036854775809,3.5,100",
        *(f"{user},2,3.5,100" for user in ("007", "+7", "-0", "7.0", "1e3", "0x7", "٣")),
        valid=[("9223372036854775807", "-9223372036854775808", 3.5, 100)],
        refused={"user id is not a 64-bit integer": 8, "item id is not a 64-bit integer": 1},
        **BOTH_INTEGER,
    ),
    csv_case(
        "text ids that look like numbers keep their zeros",
        "007,0,3.5,100",
        "7,00,3.5,100",
        "99999999999999999999,1e3,3.5,100",
        valid=[
            ("007", "0", 3.5, 100),
            ("7", "00", 3.5, 100),
            ("99999999999999999999", "1e3", 3.5, 100),
        ],
    ),
    csv_case(
        "text ids without a visible character are empty",
        *(f"{user},a,3.5,100" for user in ("", " ", "\t", "\u00a0", "\u200b", "\x01", '""')),
        "u,\u2003,3.5,100",
        refused={"empty user id": 7, "empty item id": 1},
        **BOTH_TEXT,
    ),
    RowCase(
        "Latin-1 is refused: é and è would be one user",
        {"r.csv": f"{HEADER}\né,a,3.5,100\nè,a,3.5,100\ne,a,3.5,100\n".encode("latin-1")},
        [("e", "a", 3.5, 100)],
        {"user id is not UTF-8": 2},
    ),
    csv_case(
        "ids are data: paths, control characters, markup, SQL",
        *(f"{user},i,3.5,100" for user in ("../../etc", "\x1b[31mred", "[/b]", "'; DROP TABLE r")),
        "u,/,3.5,100",
        valid=[
            *((user, "i", 3.5, 100) for user in ("../../etc", "\x1b[31mred", "[/b]")),
            ("'; DROP TABLE r", "i", 3.5, 100),
            ("u", "/", 3.5, 100),
        ],
        **BOTH_TEXT,
    ),
    csv_case(
        "times that are none, or would be another one tomorrow",
        *(
            f"1,2,3.5,{time}"
            for time in ("10:00", "T10:00:00", "now", "1.5", "9" * 20, "2020-13-01")
        ),
        "1,2,3.5,1970-01-01T00:01:40Z",
        "1,2,3.5,100",
        valid=[GOOD, GOOD],
        refused={"timestamp is not a time": 6},
    ),
    RowCase(
        "a byte order mark and CRLF, in a file that ends without a line end",
        {"r.csv": f"\ufeff{HEADER}\r\n1,2,3.5,100\r\n1,2,3.5".encode()},
        [GOOD],
        {"malformed row": 1},
    ),
    RowCase(
        "names that Spark would take for patterns",
        {
            "[ab].csv": lines("1,2,3.5,100"),
            "{a,b} ü%20#?.csv": lines("3.5,100,2,1", header="rating,timestamp,movieId,userId"),
            "c*.csv": lines("1,2,9,100"),
        },
        [GOOD, GOOD],
        {"rating outside 0.5 to 5": 1},
    ),
    RowCase(
        "Parquet: NaN, infinity, null, and columns with odd names",
        {
            "r.parquet": table(
                userId=[1, 1, 1, None],
                movieId=[2, 2, 2, 2],
                rating=[3.5, float("nan"), float("inf"), 3.5],
                timestamp=[100] * 4,
                **{"a`b": [1] * 4, "c.d": [1] * 4},
            )
        },
        [GOOD],
        {"rating is NaN": 1, "rating is infinite": 1, "empty user id": 1},
    ),
    RowCase(
        "Parquet: unsigned ids beyond 64 bits, ratings as text",
        {
            "r.parquet": table(
                userId=pa.array([1, 2**63], pa.uint64()), movieId=[2, 2], rating=["3.5", "1"]
            )
        },
        [("1", "2", 3.5, None)],
        {"user id is not a 64-bit integer": 1},
    ),
    RowCase(
        "Parquet: text that is no text",
        {"r.parquet": table(userId=not_utf8(b"\xff\xfe"), movieId=["2"], rating=[3.5])},
        [],
        {"user id is not UTF-8": 1},
    ),
    RowCase(
        "Parquet: a file of the directory lacks the ratings",
        {
            "a.parquet": table(userId=[1], movieId=[2]),
            "b.parquet": table(userId=[1], movieId=[2], rating=[3.5], timestamp=[100]),
        },
        [GOOD],
        {"empty rating": 1},
    ),
]


def write_files(directory: Path, files: Mapping[str, bytes]) -> Path:
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture(scope="module")
def rows_by_case(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """The rows of every case; one job reads them all."""
    place = tmp_path_factory.mktemp("rows")
    frames = []
    for number, case in enumerate(ROW_CASES):
        path = write_files(place / f"case {number}", case.files)
        config = make_config(path, input=case.settings)
        rows = read_ratings(spark, config.input, config.clean).rows
        frames.append(
            rows.select(
                F.lit(case.name).alias("case"),
                *(F.col(name).cast("string").alias(name) for name in ("user_id", "item_id")),
                "rating",
                "timestamp",
                "reason",
                "raw",
            )
        )
    found: dict[str, list[Any]] = {case.name: [] for case in ROW_CASES}
    for row in reduce(DataFrame.unionAll, frames).collect():
        found[row["case"]].append(row)
    return found


@pytest.mark.parametrize("case", ROW_CASES, ids=lambda case: case.name)
def test_each_row_is_kept_as_it_is_or_refused_with_a_reason(
    rows_by_case: dict[str, list[Any]], case: RowCase
) -> None:
    rows = rows_by_case[case.name]
    valid = [tuple(row)[1:5] for row in rows if row["reason"] is None]
    assert sorted(valid, key=str) == sorted(case.valid, key=str)
    assert Counter(row["reason"] for row in rows if row["reason"]) == case.refused
    assert all(row["raw"] for row in rows if row["reason"])


# --- Files that are refused as a whole, before any row is read ----------------------------------


@dataclass(frozen=True)
class FileCase:
    name: str
    files: Mapping[str, bytes]
    message: str
    settings: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 4
    path: str = ""
    """Below the directory of the files."""


ONE = table(userId=[1], movieId=[2], rating=[3.5])

FILE_CASES = [
    FileCase("nothing there", {}, "no such file"),
    FileCase("zero bytes", {"r.csv": b""}, "the file is empty (0 bytes)"),
    FileCase("zero bytes, compressed", {"r.csv.gz": gzip.compress(b"")}, "no header line"),
    FileCase("no gzip at all", {"r.csv.gz": b"not gzip at all"}, "not a gzip file"),
    FileCase("gzip cut in its header", {"r.csv.gz": gzip.compress(ONE)[:12]}, "cannot be read"),
    FileCase(
        "a header of another file",
        {"r.csv": lines("1,Heat,Crime", header="movieId,title,genres")},
        "no column 'userId' (it has: movieId, title, genres)",
    ),
    FileCase(
        "the header on another line", {"r.csv": b"\n" + lines("1,2,3.5,100")}, "no header line"
    ),
    FileCase(
        "a column twice",
        {"r.csv": lines("1,1,2,3.5", header="userId,userId,movieId,rating")},
        "names column 'userId' more than once",
    ),
    FileCase(
        "UTF-16", {"r.csv": lines("1,2,3.5,100").decode().encode("utf-16")}, "no column 'userId'"
    ),
    FileCase(
        "a header beyond Python's csv module",
        {"r.csv": lines("1", header="x" * 140_000)},
        "the first line is not a CSV header: field larger than field limit",
    ),
    FileCase(
        "a header of escape sequences",
        {"r.csv": b"\x1b]0;owned\x07,b\n1,2\n"},
        "no column 'userId' (it has: \ufffd]0;owned\ufffd, b)",
    ),
    FileCase("Parquet under the name of CSV", {"r.csv": ONE}, "no column 'userId'"),
    FileCase(
        "CSV under the name of Parquet",
        {"r.parquet": lines("1,2,3.5,100")},
        "r.parquet: not readable as Parquet: ",
    ),
    FileCase(
        "one bad Parquet file in a directory",
        {"a.parquet": ONE, "b.parquet": ONE[: len(ONE) // 2], "c.parquet": ONE},
        "b.parquet is not a Parquet file",
    ),
    FileCase(
        "one Parquet file of other types in a directory",
        {"a.parquet": ONE, "b.parquet": table(userId=["1"], movieId=[2], rating=[3.5])},
        'Failed to merge incompatible data types "BIGINT" and "STRING"',
    ),
    FileCase(
        "Parquet ids that are fractions",
        {"r.parquet": table(userId=[1.5], movieId=[2], rating=[3.5])},
        "column 'userId' is double; user ids must be integers or strings",
    ),
    FileCase(
        "Parquet ratings that are no numbers",
        {"r.parquet": table(userId=[1], movieId=[2], rating=[True])},
        "column 'rating' is boolean; ratings are numbers",
    ),
    FileCase(
        "a name that Spark passes over",
        {"_r.csv": lines("1,2,3.5,100")},
        "Spark passes over files such as '_r.csv'",
        path="_r.csv",
    ),
    FileCase("no pattern", {}, "cannot be read: ", path="["),
    *(
        FileCase(
            f"separator {separator!r}",
            {"r.csv": lines("1,2,3.5,100")},
            f"input.separator = {separator!r}",
            {"separator": separator},
            exit_code=2,
        )
        for separator in ('"', "\\", "\n", "\r")
    ),
]


@pytest.mark.parametrize("case", FILE_CASES, ids=lambda case: case.name)
def test_a_file_that_cannot_be_ratings_is_refused_in_one_line(
    spark: SparkSession, tmp_path: Path, case: FileCase
) -> None:
    place = write_files(tmp_path / "in", case.files) / case.path
    config = make_config(place, input=case.settings)
    with pytest.raises(JobError) as error, explain_failures():
        read_ratings(spark, config.input, config.clean)
    assert case.message in str(error.value)
    assert error.value.exit_code == case.exit_code
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 2_000


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("r.csv.gz", lambda data: data[: len(data) // 2]),
        ("r.parquet", lambda data: data[:2_000] + bytes(200) + data[2_200:]),
    ],
    ids=["a gzip file that was cut", "a Parquet file with a hole"],
)
def test_a_file_that_breaks_off_is_named(
    spark: SparkSession, tmp_path: Path, name: str, damage: Any
) -> None:
    users = list(range(20_000))
    if name.endswith("gz"):
        whole = gzip.compress(lines(*(f"{user},{user % 997},3.5,1" for user in users)))
    else:
        whole = table(userId=users, movieId=users, rating=[3.5] * len(users))
    place = write_files(tmp_path / "in", {name: damage(whole)})
    config = make_config(place)
    with pytest.raises(InputError, match=f"/{name}: cannot be read: ") as error, explain_failures():
        read_ratings(spark, config.input, config.clean).rows.where("rating > 4").collect()
    assert str(error.value).isprintable()


def test_titles_may_hold_anything(spark: SparkSession, tmp_path: Path) -> None:
    titles = ["../../../etc/passwd", "\x1b[2J\x07", "[bold]x[/]", "=cmd|'/c calc'!A1", "a\nb"]
    place = write_files(
        tmp_path / "in",
        {
            "a.parquet": table(movieId=[*range(5)], title=titles),
            "b.parquet": table(movieId=[5], title=not_utf8(b"caf\xe9")),
        },
    )
    config = make_config("unused", input={"items": str(place)})
    items = read_items(spark, config.input, "integer").items
    assert items["title"].tolist() == [*titles, "caf\ufffd"]


# --- Whole nights -------------------------------------------------------------------------------


@dataclass(frozen=True)
class NightCase:
    name: str
    rows: list[str]
    lists: dict[Any, int] = field(default_factory=dict)
    """Length of each user's published list."""
    quarantined: dict[str, int] = field(default_factory=dict)
    funnel: dict[str, int] = field(default_factory=dict)
    """Rows left after some of the steps."""
    refused: str = ""
    """Part of the message where nothing is published."""
    exit_code: int = 4
    settings: dict[str, Any] = field(default_factory=dict)


def everything(n_users: int, n_items: int, rating: str = "3.5") -> list[str]:
    return [f"{user},{item},{rating},1" for user in range(n_users) for item in range(n_items)]


NIGHT_CASES = [
    NightCase(
        "one user, who has rated every item",
        everything(1, 4),
        refused="rejected by the gate: gate.min_users_covered = 0.8, the run has 0; ",
        exit_code=5,
    ),
    NightCase(
        "one item",
        everything(5, 1),
        refused="rejected by the gate: gate.min_users_covered = 0.8, the run has 0; ",
        exit_code=5,
    ),
    NightCase(
        "all ratings equal, k beyond the items, and a user who rated everything",
        ["0,0,3.0,1", "0,1,3.0,1", "1,1,3.0,1", "1,2,3.0,1", *everything(3, 4, "3.0")[8:]],
        lists={0: 2, 1: 2},
        settings={"score": {"k": 50}, "gate": {"min_users_covered": 0.5}},
    ),
    NightCase(
        "duplicates and bad rows",
        [
            *checkerboard(4, 8),
            *("0,4,1.0,999", "0,4,2.0,999", "0,4,1.5,999", "0,4,4.5,1"),
            *("0,0,NaN,1", "0,0,inf,1", "0,0,1e13,1", ",,,"),
        ],
        lists={0: 3, 1: 3, 2: 3, 3: 3},
        quarantined={
            "rating is NaN": 1,
            "rating is infinite": 1,
            "rating outside 0.5 to 5": 1,
            "empty user id": 1,
        },
        funnel={"input": 16, "valid": 12, "unique": 8},
    ),
    NightCase(
        "too many rows bad",
        [*checkerboard(4, 8), "0,0,NaN,1"],
        refused="1 of 9 input rows are quarantined (11.1%), more than clean.max_bad_fraction",
        settings={"clean": {}},
    ),
    NightCase("no row good", ["x", "y"], refused="none of the 2 rows of input.ratings is valid"),
    NightCase("no row", [], refused="input.ratings holds a header and no rows"),
]


def run_night(
    spark: SparkSession, rows: list[str], place: Path, output: Path, **sections: Any
) -> PublishedRun:
    """A night with everything small, and no bound in its way."""
    gate = {"max_quarantined": 1.0, "max_top_item_share": 1.0, **sections.pop("gate", {})}
    config = make_config(
        write_csv(place / "r.csv", rows),
        output,
        clean=sections.pop("clean", {"max_bad_fraction": 1.0}),
        gate=gate,
        train={"nmf": {"n_components": 1, "max_iter": 20}},
        cluster={"n_clusters": 1},
        **{"score": {"k": 3}, **sections},
    )
    with explain_failures():
        return run_nightly(spark, config, NIGHT)


@pytest.mark.parametrize("case", NIGHT_CASES, ids=lambda case: case.name)
def test_a_night_is_published_whole_or_refused_in_one_line(
    spark: SparkSession, tmp_path: Path, case: NightCase
) -> None:
    output = tmp_path / "out"
    if not case.lists:
        with pytest.raises(JobError) as error:
            run_night(spark, case.rows, tmp_path, output, **case.settings)
        assert case.refused in str(error.value)
        assert error.value.exit_code == case.exit_code
        assert str(error.value).isprintable()
        assert not (output / "current").exists()
        return
    night = run_night(spark, case.rows, tmp_path, output, **case.settings)
    lists = pd.read_parquet(output / "current" / "recommendations")
    assert lists.groupby("user_id").size().to_dict() == case.lists
    assert night.manifest["quarantined"] == case.quarantined
    funnel = {step["step"]: step["rows"] for step in night.manifest["funnel"]}
    assert case.funnel.items() <= funnel.items()
    assert funnel["input"] == len(case.rows)


# --- The place that is written to ---------------------------------------------------------------

HOSTILE_IDS = [
    "../../../tmp/owned",
    "/etc/passwd",
    "..",
    "current",
    "\x1b[31mred",
    "[/red]",
    "%2e%2e",
]
HOSTILE_TITLES = [
    "../../title",
    "\x1b]0;owned\x07",
    "[bold]x[/italic]",
    "<script>",
    "$(id)",
    "a\rb",
]


@contextlib.contextmanager
def mounted_tmpfs(place: Path, size: str) -> Iterator[None]:
    """A file system of its own at ``place``; skips where this user may not mount."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode:
        pytest.skip(f"a file system of known size takes mount, which says: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(file: Path, *, leave: int) -> None:
    """Write until the file system is full, but for so many bytes."""
    with file.open("wb", buffering=0) as filler:
        with contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))
        assert shutil.disk_usage(file).free == 0
        filler.truncate(filler.tell() - leave)


def hostile_night() -> list[str]:
    return [
        f"{user},{item},{3 + (number + other) % 3},1"
        for number, user in enumerate(HOSTILE_IDS)
        for other, item in enumerate(HOSTILE_IDS)
        if (number + other) % 2
    ]


def test_hostile_names_stay_data_and_a_full_or_read_only_disk_changes_nothing(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "in"
    place.mkdir()
    pq.write_table(
        pa.table({"movieId": HOSTILE_IDS[:6], "title": HOSTILE_TITLES}), place / "items.parquet"
    )
    settings = {"input": {"items": str(place / "items.parquet"), **BOTH_TEXT}}
    disk = tmp_path / "disk"
    with mounted_tmpfs(disk, "4m"):
        output = disk / "out"
        run_night(spark, hostile_night(), place, output, **settings)
        check_hostile_night(output, capsys.readouterr().out)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "in"]
        assert sorted(path.name for path in disk.iterdir()) == ["out"]

        before = list_published(output)
        for leave in (0, 32_768):
            fill(disk / "filler", leave=leave)
            with pytest.raises(JobError, match="No space left on device") as error:
                run_night(spark, hostile_night(), place, output, **settings)
            assert str(error.value).isprintable()
            (disk / "filler").unlink()
            assert list_published(output) == before
            staged = output / ".staging"
            assert not staged.exists() or list(staged.iterdir()) == []

        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(MachineError, match="cannot be written: Read-only file system"):
            run_night(spark, hostile_night(), place, output, **settings)
        assert list_published(output) == before


def list_published(output: Path) -> dict[str, bytes]:
    """Whatever a reader can see: the pointers and every file of every run."""
    files = {path for path in (output / "runs").rglob("*") if path.is_file()}
    seen = {str(path.relative_to(output)): path.read_bytes() for path in files}
    return seen | {
        "current": os.readlink(output / "current").encode(),  # noqa: PTH115 - the text as written
        "CURRENT.json": (output / "CURRENT.json").read_bytes(),
    }


def check_hostile_night(output: Path, printed: str) -> None:
    current = output / "current"
    lists = pd.read_parquet(current / "recommendations")
    assert set(lists["user_id"]) == set(HOSTILE_IDS)
    assert set(lists["item_id"]) <= set(HOSTILE_IDS)
    clusters = pd.read_parquet(current / "item_clusters")
    assert set(clusters["title"].dropna()) == set(HOSTILE_TITLES)
    names = {path.name for path in (output / "runs").rglob("*")}
    assert not names & {"owned", "passwd", "title"}
    assert sorted(path.name for path in (current / "model").iterdir()) == sorted(FILES)
    assert "user \ufffd[31mred: 1. " in printed  # shown, and powerless
    assert printed.replace("\n", "").isprintable()
    manifest = json.loads((current / "manifest.json").read_text())
    assert manifest["quarantined"] == {}
