"""Arbitrary input: no traceback reaches the user, and no bad row reaches training."""

import hashlib
import json
import math
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import HEADER, make_config
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from jobs.cli.main import main
from jobs.errors import InputError
from jobs.input.read_ratings import read_ratings
from jobs.process.failures import explain_failures
from jobs.ratings.clean import clean_ratings
from jobs.ratings.gather import account_rows
from recsys_core.items.catalog import ExcludedItem, ItemCatalog
from recsys_core.items.index import ItemIndex
from recsys_core.models.nmf import NmfModel
from recsys_core.query.saved_model import ARRAYS_FILE, FACTS_FILE, SavedModel, encode_model

BOTH_INTEGER = {"user_id_type": "integer", "item_id_type": "integer"}
BOTH_TEXT = {"user_id_type": "string", "item_id_type": "string"}
# A failing example is short enough as it is, and every attempt to shrink it takes Spark jobs.
SPARK = settings(
    deadline=None,
    max_examples=5,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


# --- CSV against an oracle ----------------------------------------------------------------------

plain_text = st.text(
    st.characters(exclude_characters='",\r\n', exclude_categories=("Cs",)), max_size=6
)
ids = st.one_of(
    st.integers(1, 6).map(str),
    st.sampled_from(["", " ", "007", "-3", "+4", "9223372036854775808", "1.0", "x"]),
    plain_text,
)
ratings = st.one_of(
    st.floats(0.5, 5).map(repr),
    st.floats().map(repr),
    st.sampled_from(
        ["", "NaN", "-Infinity", "1e13", "0x1p1", "4.5f", "3d", "+3", " 4 ", ".5", "3."]
    ),
    plain_text,
)
times = st.sampled_from(["", "1", "2", "300", "yesterday", "10:00"])
good_lines = st.tuples(ids, ids, ratings, times).map(",".join)
csv_lines = st.one_of(good_lines, good_lines, st.lists(plain_text, max_size=6).map(",".join))


def strip_java(text: str) -> str:
    """``text`` without blanks and control characters at its ends, as Java trims."""
    return text.strip("".join(map(chr, range(33))))


def parse_id(text: str) -> int | None:
    if not re.fullmatch(r"-?[1-9][0-9]*|0", text.strip(" ")):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def parse_line(line: str) -> tuple[int, int, float, float] | None:
    """user, item, rating, time of a valid line; None for any other. Knows nothing of Spark."""
    fields = line.split(",")
    if len(fields) != 4:
        return None
    user, item = parse_id(fields[0]), parse_id(fields[1])
    number = strip_java(fields[2])
    if not re.fullmatch(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", number):
        return None
    rating = float(number)
    if user is None or item is None or not 0.5 <= rating <= 5:
        return None
    if fields[3] not in ("", "1", "2", "300"):
        return None
    return user, item, rating, float(fields[3] or "-inf")


@SPARK
@example(["1,2,3.5,1", "1,2,4.5,1", "1,2,5,", "1,3,NaN,1"])
@given(st.lists(csv_lines, min_size=40, max_size=100))
def test_exactly_the_valid_lines_reach_training(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    lines = [line for line in lines if strip_java(line)]  # others are no rows
    file = tmp_path_factory.mktemp("fuzz") / "r.csv"
    file.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    valid = [parsed for parsed in map(parse_line, lines) if parsed is not None]
    best: dict[tuple[int, int], tuple[float, float]] = {}
    for user, item, rating, time in valid:
        best[user, item] = max(best.get((user, item), (-math.inf, 0.0)), (time, rating))

    config = make_config(file, input=BOTH_INTEGER)
    rows = read_ratings(spark, config.input, config.clean).rows
    found = rows.where("reason is null").select("user_id", "item_id", "rating").collect()
    assert Counter(map(tuple, found)) == Counter(parsed[:3] for parsed in valid)
    account = account_rows(rows, 2)
    assert sum(account.refused.values()) == len(lines) - len(valid)
    if not valid:
        return
    cleaned = clean_ratings(account, config.clean)
    assert cleaned.funnel[0].rows == len(lines)
    item_ids = cleaned.items["item_id"].tolist()
    kept = {
        (row["user_id"], item_ids[index]): rating
        for row in cleaned.ratings.collect()
        for index, rating in zip(row["item_index"], row["rating"], strict=True)
    }
    assert kept == {pair: np.float32(rating) for pair, (_, rating) in best.items()}
    spark.catalog.clearCache()


wild_lines = st.one_of(
    st.binary(max_size=30),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    st.text(st.sampled_from('12",\n\r\0 .eE\\'), max_size=16).map(str.encode),
    good_lines.map(str.encode),
)


@SPARK
@given(st.lists(wild_lines, min_size=40, max_size=100))
def test_bytes_become_sound_rows_or_refused_ones(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "r.csv"
    file.write_bytes(b"\n".join([HEADER.encode(), b"good,good,3.5,1", *lines]))
    config = make_config(file, input=BOTH_TEXT)
    rows = read_ratings(spark, config.input, config.clean).rows
    found = rows.collect()
    for row in found:
        if row["reason"] is None:
            assert 0.5 <= row["rating"] <= 5
            assert row["user_id"].strip()
            assert row["item_id"].strip()
            assert "\ufffd" not in row["user_id"] + row["item_id"]
        else:
            assert row["raw"] is not None
    account = account_rows(rows, 2)
    n_valid = sum(row["reason"] is None for row in found)
    assert n_valid >= 1
    cleaned = clean_ratings(account, config.clean)
    assert cleaned.funnel[0].rows == len(found) == n_valid + sum(account.refused.values())
    assert cleaned.funnel[1].rows == n_valid
    spark.catalog.clearCache()


@settings(SPARK, max_examples=60)
@example("x" * 200_000)
@example('"userId,movieId,rating')
@example("userId,movieId,rating,\x1b[31m")
@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from([*HEADER.split(","), "", '"', "`", "\x00"])).map(",".join),
    )
)
def test_no_header_ends_in_a_traceback(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, header: str
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "r.csv"
    file.write_bytes(header.encode("utf-8", "replace") + b"\n1,2,3,4\n")
    config = make_config(file)
    told = ""
    try:
        with explain_failures():
            read_ratings(spark, config.input, config.clean)
    except InputError as error:
        told = str(error)
    assert told.isprintable()


# --- Queries and models -------------------------------------------------------------------------

TITLES = ["Heat (1995)", "Toy Story (1995)", "../../etc/passwd", "\x1b[31mred", "[/b]", None]
FACTS: dict[str, Any] = {
    "run_id": "2026-11-21-20261121T000000-abcdef",
    "rating_range": [0.5, 5.0],
    "n_users": 8,
    "n_ratings": 24,
    "losses": [2.0, 1.0],
    "figures": {"reconstruction_error": 1.5},
    "rating_files": [],
    "columns": {"user": "u", "item": "i", "rating": "r", "timestamp": None, "separator": ","},
}


def make_files() -> dict[str, bytes]:
    factors = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    catalog = ItemCatalog(
        ItemIndex.from_ids([10, 20, 30, 40, 50, 60]),
        list(TITLES),
        [None] * 6,
        np.full(6, 8),
        np.full(6, 2.5),
        [ExcludedItem(70, "Rare Bird (1993)", "fewer than 5 ratings", 2)],
    )
    return encode_model(SavedModel(NmfModel(factors), catalog, FACTS))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("fuzz") / "model", make_files())


def write_model(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(exist_ok=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory


def ask(command: str, model: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [command, "--model", str(model), *arguments])


def assert_answered_or_told(answer: Result) -> None:
    """An answer, or one line that says why there is none; a traceback never."""
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    assert answer.exit_code in (0, 2, 4)
    assert answer.stdout.replace("\n", "").isprintable()
    if answer.exit_code:
        assert answer.stdout == ""
        assert answer.stderr.startswith("error: ")
        assert answer.stderr[:-1].isprintable()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.one_of(st.sampled_from(["10", "20", "heat", "70", *TITLES[:5]]), st.text())
json_queries = st.dictionaries(keys, st.floats(0.5, 5) | json_values, max_size=4).map(json.dumps)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example('{"10": 5}', [], 3, True)
@example('{"10": 5}', ["1" * 5_000 + "=3"], 3, False)
@example('{"10": 5}', ["a\nb"], 10**30, False)
@example('{"\\ud800": 5, "heat": 3}', ["\x1b[31m=4"], 2, True)
@example('{"heat": %s}' % ("9" * 4_000), [], 2, False)
@example('{"a":' * 5_000, [], 2, False)
@example("no such\nfile", [], 2, False)
@given(
    st.one_of(st.none(), json_queries, st.text(), st.text().map("{{{}".format)),
    st.lists(
        st.one_of(st.tuples(keys, st.floats(0.5, 5)).map("{0[0]}={0[1]}".format), st.text()),
        max_size=3,
    ),
    st.integers(-2, 12) | st.integers(),
    st.booleans(),
)
def test_any_query_is_answered_or_told_in_one_line(
    model: Path, query: str | None, rates: list[str], k: int, explain: bool
) -> None:
    arguments = [] if query is None else [f"--query={query}"]
    arguments += [f"--rate={rate}" for rate in rates]
    answer = ask("recommend", model, *arguments, f"-k{k}", *(["--explain"] if explain else []))
    assert_answered_or_told(answer)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(b"\xff\xfe")
@example(b'{"10": 5, "10": 4}')
@given(st.binary() | json_queries.map(str.encode))
def test_any_query_file_is_answered_or_told(model: Path, content: bytes) -> None:
    file = model.parent / "query.json"
    file.write_bytes(content)
    assert_answered_or_told(ask("recommend", model, "--query", str(file)))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example("1" * 5_000)
@given(st.text())
def test_any_item_is_answered_or_told(model: Path, item: str) -> None:
    assert_answered_or_told(ask("similar", model, f"--item={item}"))


def test_hostile_titles_are_shown_without_their_control_characters(model: Path) -> None:
    answer = ask("recommend", model, "--rate=10=5")
    assert "\ufffd[31mred [40]" in answer.stdout
    assert "../../etc/passwd [30]" in answer.stdout
    assert_answered_or_told(answer)


ASKED = (("recommend", "--rate=20=4", "--explain"), ("similar", "--item=30"), ("inspect",))


def ask_everything(directory: Path) -> None:
    for command, *arguments in ASKED:
        assert_answered_or_told(ask(command, directory, *arguments))


def replace_somewhere(document: Any, place: int, value: Any) -> Any:
    """``document`` with one of its values, wherever it lies, replaced by another."""
    if not isinstance(document, (dict, list)) or not document:
        return value
    entries = list(document.items() if isinstance(document, dict) else enumerate(document))
    key, inner = entries[place % len(entries)]
    changed = document.copy()
    changed[key] = replace_somewhere(inner, place // len(entries), value) if place % 3 else value
    return changed


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10_000), json_values)
def test_a_model_with_other_facts_is_answered_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: Any
) -> None:
    files = make_files()
    facts = replace_somewhere(json.loads(files[FACTS_FILE]), place, value)
    directory = tmp_path_factory.getbasetemp() / "other facts"
    ask_everything(write_model(directory, files | {FACTS_FILE: json.dumps(facts).encode()}))


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([ARRAYS_FILE, FACTS_FILE]),
    st.integers(0),
    st.integers(0, 9),
    st.binary(max_size=9),
)
def test_a_damaged_model_is_answered_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, at: int, cut: int, put: bytes
) -> None:
    """The checksum of the arrays is made to fit, so that what lies behind it is reached."""
    files = make_files()
    at %= len(files[name])
    files[name] = files[name][:at] + put + files[name][at + cut :]
    if name == ARRAYS_FILE:
        facts = json.loads(files[FACTS_FILE])
        facts["arrays_sha256"] = hashlib.sha256(files[name]).hexdigest()
        files[FACTS_FILE] = json.dumps(facts).encode()
    ask_everything(write_model(tmp_path_factory.getbasetemp() / "damaged", files))


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"model_sha256": [1]}', b"[" * 9_000, b"\xff"])
def test_a_damaged_manifest_is_told(tmp_path: Path, content: bytes) -> None:
    directory = write_model(tmp_path / "model", make_files())
    (tmp_path / "manifest.json").write_bytes(content)
    answer = ask("recommend", directory, "--rate=10=5")
    assert answer.exit_code == 4
    assert "manifest.json beside it is damaged" in answer.stderr
    assert_answered_or_told(answer)


class Payload:
    """Unpickled, it would write a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.canary, "owned"))


@pytest.mark.parametrize("name", [ARRAYS_FILE, FACTS_FILE, "query"])
def test_no_file_can_run_code(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Payload(canary))
    directory = write_model(tmp_path / "model", make_files() | {name: payload})
    if name == ARRAYS_FILE:
        facts = json.loads((directory / FACTS_FILE).read_text())
        facts["arrays_sha256"] = hashlib.sha256(payload).hexdigest()
        (directory / FACTS_FILE).write_text(json.dumps(facts))
    answer = ask(
        "recommend",
        directory,
        "--query",
        str(directory / "query" if name == "query" else '{"10": 5}'),
    )
    assert answer.exit_code in (2, 4)
    assert_answered_or_told(answer)
    assert not canary.exists()
    pickle.loads(payload)
    assert canary.exists()  # the payload does work where somebody runs it
