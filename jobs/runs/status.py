"""``status.json``: what became of a run, for whoever does not see its exit code."""

import json
import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any, Literal

from py4j.protocol import Py4JJavaError

from jobs.runs.places import STATUS, STATUS_FILE
from jobs.runs.run import Run
from jobs.storage.base import Storage

logger = logging.getLogger(__name__)

FinalState = Literal["published", "rejected", "failed", "locked"]


class RunStatus:
    """The status of one run, from its start to its end."""

    def __init__(self, storage: Storage, run: Run) -> None:
        self._storage = storage
        self._run = run
        self._started_at = datetime.now(UTC)
        self._clock = time.monotonic()

    def start(self) -> None:
        """Say that the run is running. Called by the holder of the lock: the file is its own."""
        self._write(self._describe("running"), is_latest=True)

    def finish(
        self,
        state: FinalState,
        exit_code: int,
        *,
        message: str | None = None,
        directory: str | None = None,
        rows: int | None = None,
    ) -> None:
        """Say how the run ended; a status that cannot be written is a warning, not a failure.

        ``status.json`` of the output stays that of the run at work where this one was locked out.
        """
        status = self._describe(
            state,
            exit_code=exit_code,
            message=message,
            directory=directory,
            rows=rows,
            finished_at=_format_time(datetime.now(UTC)),
            seconds=round(time.monotonic() - self._clock, 3),
        )
        try:
            self._write(status, is_latest=state != "locked")
        except (OSError, Py4JJavaError) as error:
            reason = str(error).partition("\n")[0]
            logger.warning("%s/%s was not written: %s", self._storage.root, STATUS_FILE, reason)

    def _describe(self, state: str, **end: Any) -> dict[str, Any]:
        fields = ("exit_code", "message", "directory", "rows", "finished_at", "seconds")
        return {
            **self._run.footer,
            "state": state,
            "started_at": _format_time(self._started_at),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            **{name: end.get(name) for name in fields},
        }

    def _write(self, status: dict[str, Any], *, is_latest: bool) -> None:
        data = (json.dumps(status, indent=2, ensure_ascii=False) + "\n").encode()
        self._storage.write(f"{STATUS}/{self._run.run_id}.json", data)
        if is_latest:
            self._storage.write(STATUS_FILE, data)


def read_status(storage: Storage, run_id: str | None = None) -> dict[str, Any] | None:
    """The status of a run, or of the latest; None where there is none, or a damaged one."""
    path = STATUS_FILE if run_id is None else f"{STATUS}/{run_id}.json"
    if not storage.exists(path):
        return None
    try:
        return dict(json.loads(storage.read(path)))
    except (ValueError, TypeError):
        return None


def _format_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
