"""The textfile for Prometheus: written whole, and true after failures too."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.errors import InputError, MachineError
from jobs.process.prometheus import check_metrics_file, report_metrics, write_metrics

NIGHT = date(2026, 11, 21)
MORNING = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
ROWS = {"recommendations": 840, "item_clusters": 90}

pytestmark = pytest.mark.filterwarnings("error")


def write(
    path: Path, *, exit_code: int = 0, days: int = 0, rows: Mapping[str, int] | None = None
) -> dict[str, float]:
    write_metrics(
        path,
        run_date=NIGHT + timedelta(days=days),
        exit_code=exit_code,
        seconds=61.5,
        rows=rows,
        finished=MORNING + timedelta(days=days),
    )
    return read(path)


def read(path: Path) -> dict[str, float]:
    """Values by name, as a scraper would read them."""
    families = text_string_to_metric_families(path.read_text())
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_published_run_is_a_success_with_rows(tmp_path: Path) -> None:
    assert write(tmp_path / "recsys.prom", rows=ROWS) == {
        "recsys_last_success_timestamp_seconds": MORNING.timestamp(),
        "recsys_last_run_timestamp_seconds": MORNING.timestamp(),
        "recsys_last_run_date_timestamp_seconds": datetime(2026, 11, 21, tzinfo=UTC).timestamp(),
        "recsys_last_run_exit_code": 0,
        "recsys_run_duration_seconds": 61.5,
        "recsys_rows/recommendations": 840,
        "recsys_rows/item_clusters": 90,
    }
    assert [file.name for file in tmp_path.iterdir()] == ["recsys.prom"]


def test_a_failed_run_keeps_the_last_success_and_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "recsys.prom"
    write(path, rows=ROWS)
    after = write(path, exit_code=4, days=1)
    assert after["recsys_last_success_timestamp_seconds"] == MORNING.timestamp()
    assert after["recsys_last_run_timestamp_seconds"] == MORNING.timestamp() + 86_400
    assert after["recsys_last_run_exit_code"] == 4
    assert after["recsys_rows/recommendations"] == 840


def test_the_rows_of_a_table_no_longer_published_go(tmp_path: Path) -> None:
    write(tmp_path / "recsys.prom", rows=ROWS)
    after = write(tmp_path / "recsys.prom", rows={"recommendations": 7}, days=1)
    assert {name for name in after if "rows" in name} == {"recsys_rows/recommendations"}


def test_without_any_success_there_is_no_time_of_one(tmp_path: Path) -> None:
    assert "recsys_last_success_timestamp_seconds" not in write(tmp_path / "m.prom", exit_code=3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"recsys_rows{table=\n",
        b"recsys_last_success_timestamp_seconds not-a-number\n",
        b"recsys_last_success_timestamp_seconds\n",
        b'recsys_rows{table="recommendations"} NaN\n',
        b'recsys_rows{table="recommendations"} +Inf\n',
        b"{}{}{\n# TYPE\n# HELP x\n",
    ],
)
def test_a_garbled_file_is_written_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recsys.prom"
    path.write_bytes(content)
    assert write(path, exit_code=1)["recsys_last_run_exit_code"] == 1
    assert write(path, rows=ROWS)["recsys_rows/recommendations"] == 840


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A path below a file: no rights, not even root's, make it a directory."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "recsys.prom"


def test_an_unwritable_file_is_told_at_the_start(tmp_path: Path, unwritable: Path) -> None:
    for path in (unwritable, tmp_path / "none" / "recsys.prom", tmp_path):
        with pytest.raises(MachineError, match=f"--metrics-file {path}: cannot be written: "):
            check_metrics_file(path)
    with pytest.raises(MachineError, match="--metrics-file"):
        write(unwritable)


def test_the_check_leaves_nothing_behind_and_touches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "recsys.prom"
    check_metrics_file(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("as it was")
    check_metrics_file(path)
    assert path.read_text() == "as it was"


def test_a_run_is_reported_with_its_exit_code_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "recsys.prom"
    with report_metrics(path, NIGHT) as figures:
        figures.rows = ROWS
    assert read(path)["recsys_last_run_exit_code"] == 0
    assert read(path)["recsys_rows/item_clusters"] == 90
    success = read(path)["recsys_last_success_timestamp_seconds"]
    for error, code in ((InputError("no such file"), 4), (RuntimeError("unforeseen"), 1)):
        with pytest.raises(type(error), match=str(error)), report_metrics(path, NIGHT):
            raise error
        assert read(path)["recsys_last_run_exit_code"] == code
        assert read(path)["recsys_last_success_timestamp_seconds"] == success


def test_an_unwritable_file_ends_the_run_before_it_begins(unwritable: Path) -> None:
    begun = False
    with pytest.raises(MachineError), report_metrics(unwritable, NIGHT):
        begun = True
    assert not begun


def test_a_file_that_became_unwritable_hides_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "recsys.prom"

    def fail() -> None:
        path.mkdir()
        raise InputError("the real reason")

    with pytest.raises(InputError, match="the real reason"), report_metrics(path, NIGHT):
        fail()
    assert f"--metrics-file {path}: cannot be written" in caplog.text


def test_a_check_reports_failures_alone(tmp_path: Path) -> None:
    path = tmp_path / "recsys.prom"
    with report_metrics(path, NIGHT, only_failure=True):
        pass
    assert not path.exists()
    with pytest.raises(InputError), report_metrics(path, NIGHT, only_failure=True):
        raise InputError("x")
    assert read(path)["recsys_last_run_exit_code"] == 4
