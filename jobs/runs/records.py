"""The runs of an output: which there are, which is current, and which may go.

Whoever changes something here holds ``Storage.lock``.
"""

import json
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from jobs.errors import ConfigError, MachineError
from jobs.runs.run import RUN_ID, RUNS, Run
from jobs.runs.staged import CURRENT, CURRENT_FILE, MANIFEST, STAGING, switch_current
from jobs.runs.status import STATUS
from jobs.storage.base import Storage, sweep_temporaries
from jobs.tables.published import QUARANTINE

logger = logging.getLogger(__name__)

RunState = Literal["published", "rejected"]


@dataclass(frozen=True)
class RunRecord:
    """A run on disk."""

    run: Run
    state: RunState
    manifest: Mapping[str, Any]
    is_current: bool

    @property
    def run_id(self) -> str:
        return self.run.run_id


def hold_output(
    storage: Storage, holder: str, since: datetime | None = None
) -> AbstractContextManager[None]:
    """``Storage.lock`` for this process, under a name that others are told while it is held."""
    return storage.lock(
        {
            "run": holder,
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": (since or datetime.now(UTC)).isoformat(timespec="seconds"),
        }
    )


def prepare_output(storage: Storage) -> None:
    """Clear up after runs that died, and finish a switch that one of them had begun.

    Raises:
        MachineError: the output holds something in a place of ours that is not ours.
    """
    storage.require_own(STAGING, RUNS, QUARANTINE.name, STATUS)
    for name in storage.list(STAGING):
        if RUN_ID.fullmatch(name):
            logger.info("removing what run %s, which died, left in staging", name)
            storage.delete(f"{STAGING}/{name}")
    sweep_temporaries(storage)
    sweep_temporaries(storage, STATUS)
    current = find_current(storage)
    if current is not None and _pointed_to(storage) != current:
        switch_current(storage, current)


def find_current(storage: Storage) -> Run | None:
    """The run that readers are led to.

    Raises:
        MachineError: ``current`` leads elsewhere than to a run of this output.
    """
    if storage.is_directory(CURRENT):
        raise MachineError(
            f"output.path = '{storage.root}': {CURRENT} is a directory, where the job keeps "
            "a link; move it away"
        )
    linked = storage.pointee(CURRENT)
    if linked is None:
        return _pointed_to(storage)
    run = _parse_place(linked)
    if run is None:
        raise MachineError(
            f"output.path = '{storage.root}': {CURRENT} leads to '{linked}', which is no run "
            "of this output; remove the link"
        )
    return run


def _pointed_to(storage: Storage) -> Run | None:
    """What ``CURRENT.json`` says; None where it is missing or damaged."""
    if not storage.exists(CURRENT_FILE):
        return None
    try:
        return _parse_place(json.loads(storage.read(CURRENT_FILE))["path"])
    except (ValueError, KeyError, TypeError):
        logger.warning("%s/%s is damaged, and will be written anew", storage.root, CURRENT_FILE)
        return None


def _parse_place(place: Any) -> Run | None:
    folder, _, run_id = str(place).partition("/")
    return Run.from_id(run_id) if folder == RUNS and RUN_ID.fullmatch(run_id) else None


def read_current(storage: Storage) -> RunRecord | None:
    """The current run with its manifest; None before the first, or where its files are gone."""
    current = find_current(storage)
    if current is None:
        return None
    record = _read_record(storage, current, current)
    if record is None:
        logger.warning("the current run %s has no readable manifest", current.run_id)
    return record


def list_runs(storage: Storage) -> list[RunRecord]:
    """The runs on disk, the latest first; what is no whole run is passed over."""
    current = find_current(storage)
    runs = [Run.from_id(name) for name in storage.list(RUNS) if RUN_ID.fullmatch(name)]
    records = (_read_record(storage, run, current) for run in runs)
    found = [record for record in records if record is not None]
    return sorted(found, key=lambda record: (record.run.started, record.run_id), reverse=True)


def _read_record(storage: Storage, run: Run, current: Run | None) -> RunRecord | None:
    place = f"{run.place}/{MANIFEST}"
    try:
        if not storage.exists(place):
            return None
        manifest = dict(json.loads(storage.read(place)))
    except (ValueError, TypeError):
        return None
    state: RunState = "rejected" if manifest.get("state") == "rejected" else "published"
    return RunRecord(run, state, manifest, run == current)


def find_published(storage: Storage, run_id: str) -> Run:
    """The published run of an id, to go back to.

    Raises:
        ConfigError: no such run here, or one that the gate rejected.
    """
    records = {record.run_id: record for record in list_runs(storage)}
    record = records.get(run_id)
    if record is None:
        known = ", ".join(list(records)[:3]) or "none"
        raise ConfigError(f"'{run_id}' is no run in {storage.root}; the latest are: {known}")
    if record.state != "published":
        raise ConfigError(
            f"run {run_id} was rejected by the gate; go back to a published one, or run its date "
            "again with --force"
        )
    return record.run


def remove_old_runs(
    storage: Storage, *, keep_runs: int, keep_hours: float, now: datetime
) -> list[str]:
    """Delete what exceeds the last ``keep_runs`` runs of each state; the ids of what went.

    Never the current run, and none younger than ``keep_hours``. With a run go its refused rows and
    its status; those of runs that never came to be are kept by the same rule.
    """
    records = list_runs(storage)
    young = now.astimezone(UTC) - timedelta(hours=keep_hours)

    def pick_old(runs: Sequence[Run]) -> list[Run]:
        latest_first = sorted(runs, key=lambda run: (run.started, run.run_id), reverse=True)
        return [run for run in latest_first[keep_runs:] if run.started < young]

    old = [
        run
        for state in ("published", "rejected")
        for run in pick_old([record.run for record in records if record.state == state])
        if not any(record.is_current and record.run == run for record in records)
    ]
    beside = ((QUARANTINE.name, ""), (STATUS, ".json"))
    for run in old:
        # Out of the place of whole runs first: a death midway must not leave half of one there.
        storage.move(run.place, f"{STAGING}/{run.run_id}")
        storage.delete(f"{STAGING}/{run.run_id}")
        for folder, ending in beside:
            storage.delete(f"{folder}/{run.run_id}{ending}")
    there = {record.run for record in records}
    for folder, ending in beside:
        names = (name.removesuffix(ending) for name in storage.list(folder))
        failed = {Run.from_id(name) for name in names if RUN_ID.fullmatch(name)} - there
        for run in pick_old([*failed]):
            storage.delete(f"{folder}/{run.run_id}{ending}")
    return [run.run_id for run in old]
