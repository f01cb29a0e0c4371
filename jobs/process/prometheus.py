"""``--metrics-file``: figures of the last run, which Prometheus' node exporter picks up as text."""

import contextlib
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import monotonic

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from jobs.errors import JobError, MachineError
from jobs.process.stop import Stopped

LAST_SUCCESS = "recsys_last_success_timestamp_seconds"
LAST_RUN = "recsys_last_run_timestamp_seconds"
RUN_DATE = "recsys_last_run_date_timestamp_seconds"
EXIT_CODE = "recsys_last_run_exit_code"
DURATION = "recsys_run_duration_seconds"
ROWS = "recsys_rows"

logger = logging.getLogger(__name__)


@dataclass
class RunFigures:
    """What a run adds to its figures while it is at work."""

    rows: Mapping[str, int] | None = None
    """Of each published table."""


@contextlib.contextmanager
def report_metrics(
    path: Path | None, run_date: date, *, only_failure: bool = False
) -> Iterator[RunFigures]:
    """Write the figures of the run that is the body, however it ends; nothing without a path.

    A file that has become unwritable meanwhile is logged: it changes nothing of how the run ended.

    Raises:
        MachineError: at the start, if the figures cannot be written.
    """
    figures = RunFigures()
    if path is None:
        yield figures
        return
    started, exit_code = monotonic(), 1
    try:
        if not only_failure:
            check_metrics_file(path)
        yield figures
        exit_code = 0
    except (JobError, Stopped) as error:
        exit_code = error.exit_code
        raise
    finally:
        if exit_code or not only_failure:
            try:
                write_metrics(
                    path,
                    run_date=run_date,
                    exit_code=exit_code,
                    seconds=monotonic() - started,
                    rows=figures.rows if exit_code == 0 else None,
                    finished=datetime.now(UTC),
                )
            except MachineError as error:
                logger.warning("%s", error)


def check_metrics_file(path: Path) -> None:
    """Prove, at the start of a run, that its figures can be written at its end.

    Raises:
        MachineError: they cannot.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "is a directory")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None


def write_metrics(
    path: Path,
    *,
    run_date: date,
    exit_code: int,
    seconds: float,
    rows: Mapping[str, int] | None,
    finished: datetime,
) -> None:
    """Write the figures of a run that ended, whole.

    Those of the last success stay where this one is none.

    Args:
        rows: Of each published table; None where nothing was published.

    Raises:
        MachineError: the file cannot be written.
    """
    before = _read_samples(path)
    success = finished.timestamp() if exit_code == 0 else before.get((LAST_SUCCESS, ""))
    if rows is None:
        rows = {table: int(value) for (name, table), value in before.items() if name == ROWS}
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, value: float) -> None:
        Gauge(name, meaning, registry=registry).set(value)

    if success is not None:
        gauge(LAST_SUCCESS, "When the last run that published ended.", success)
    gauge(LAST_RUN, "When the last run ended.", finished.timestamp())
    gauge(RUN_DATE, "Midnight in UTC of the date the last run was for.", _midnight(run_date))
    gauge(EXIT_CODE, "Exit code of the last run; 0 if it published.", exit_code)
    gauge(DURATION, "Seconds that the last run took.", seconds)
    table_rows = Gauge(ROWS, "Rows last published, by table.", ["table"], registry=registry)
    for table, count in rows.items():
        table_rows.labels(table).set(count)
    try:
        write_to_textfile(os.fspath(path), registry)
    except OSError as error:
        raise _unwritable(path, error) from None


def _read_samples(path: Path) -> dict[tuple[str, str], float]:
    """Values by name and table in the file of an earlier run; none from a damaged one."""
    try:
        text = path.read_text(encoding="utf-8")
        families = list(text_string_to_metric_families(text))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, IndexError) as error:
        logger.warning("--metrics-file %s is unreadable, and written anew: %s", path, error)
        return {}
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, sample.labels.get("table", "")): sample.value
        for sample in samples
        if math.isfinite(sample.value)
    }


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), UTC).timestamp()


def _unwritable(path: Path, error: OSError) -> MachineError:
    reason = error.strerror or error
    return MachineError(f"--metrics-file {path}: cannot be written: {reason}")
