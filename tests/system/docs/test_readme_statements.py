"""What the README says is so: files, links, exit codes, folders, benchmarks; and it stays short."""

import re

import pytest
from benchmarks.bench import BENCHMARKS, LONG, TABLES
from paths import ROOT
from readme_text import README, drop_blocks, list_blocks, list_spans
from test_layers import FLOORS

from jobs.errors import JobError
from jobs.process.stop import Stopped

MOST_LINES = 450
QUERIES = ROOT / "conf" / "examples" / "queries"


def list_rows(header: str) -> list[list[str]]:
    """The cells of the table whose first line begins with ``header``, below that line."""
    table = README[README.index(f"\n{header}") :].lstrip("\n").split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]
    ]


def test_it_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_parts_are_for_their_readers_and_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^(#+) (.+)$", drop_blocks(), re.MULTILINE)
    parts = [title for level, title in headings if level == "##"]
    assert parts == [
        *("1. Try it", "2. Run it every night", "3. Read it", "4. Change it", "5. Figures")
    ]
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for _, title in headings}
    links = re.findall(r"\]\(([^)]+)\)", drop_blocks())
    assert len(links) > 15
    for link in links:
        assert (
            link.removeprefix("#") in anchors if link.startswith("#") else (ROOT / link).is_file()
        ), link


def list_paths() -> list[str]:
    """Files and folders of the checkout that stand anywhere in the README."""
    return re.findall(r"(?<![\w/.-])(?:conf|jobs|recsys_core|tests)/[\w./-]*\w/?", README)


def test_every_file_it_names_is_there() -> None:
    assert len(list_paths()) > 20
    assert [path for path in list_paths() if not (ROOT / path).exists()] == []


def test_it_names_every_file_of_queries() -> None:
    names = {span for span in list_spans() if re.fullmatch(r"[\w-]+\.(py|sql)", span)}
    assert names == {file.name for file in QUERIES.iterdir() if file.is_file()}


def list_failures(base: type[JobError] = JobError) -> list[type[JobError]]:
    return [base, *(one for inner in base.__subclasses__() for one in list_failures(inner))]


def test_the_exit_codes_are_those_of_the_failures() -> None:
    rows = list_rows("| exit code | meaning |")
    codes = [int(row[0]) for row in rows]
    assert len({*codes}) == len(codes)
    assert {*codes} == {failure.exit_code for failure in (*list_failures(), Stopped)} | {0}
    assert [code for code, row in zip(codes, rows, strict=True) if "unchanged" not in row[2]] == [0]


@pytest.mark.parametrize("package", ["jobs", "recsys_core"])
def test_the_folders_stand_in_the_order_of_imports(package: str) -> None:
    layout = next(text for _, text in list_blocks() if text.startswith("jobs/  "))
    shown = re.search(rf"^{package}/ .*\n((?:  .+\n)+)", layout, re.MULTILINE)
    assert shown is not None
    folders = re.findall(r"^  (\w+)/ ", shown[1], re.MULTILINE)
    floors = [place for floor in FLOORS[package] for place in floor.split()]
    assert folders == [place for place in floors if (ROOT / package / place).is_dir()]
    assert {*folders} == {file.parent.name for file in (ROOT / package).glob("*/__init__.py")}


def test_every_benchmark_has_its_name() -> None:
    names = [row[0].strip("`") for row in list_rows("| benchmark |")]
    assert len(names) > 8
    assert [name for name in names if name not in {*BENCHMARKS, *LONG, *TABLES}] == []
