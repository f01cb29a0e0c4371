"""The log: lines for people, or a JSON object a line for programs."""

import logging
from datetime import UTC, datetime
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]


class _JsonLines(JsonFormatter):
    """One JSON object a line; fields given as ``extra`` stand beside the message."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def set_up_logging(log_format: LogFormat = "text") -> None:
    """Log lines of the job, and warnings, to stderr. Called by programs, never at import."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, force=True
    )
    logging.getLogger("py4j").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    if log_format == "json":
        for handler in logging.root.handlers:
            handler.setFormatter(_json_lines())


def _json_lines(run_id: str | None = None) -> JsonFormatter:
    return _JsonLines(
        ["asctime", "levelname", "name", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        static_fields={"run_id": run_id},
        json_ensure_ascii=False,
    )


def name_run(run_id: str) -> None:
    """Put the run's id into every JSON line from here on."""
    for formatter in _json_formatters():
        formatter.static_fields["run_id"] = run_id


def is_json_log() -> bool:
    """Whether programs read the log: nothing but its lines may be printed beside it."""
    return bool(_json_formatters())


def _json_formatters() -> list[_JsonLines]:
    formatters: list[Any] = [handler.formatter for handler in logging.root.handlers]
    return [formatter for formatter in formatters if isinstance(formatter, _JsonLines)]
