"""The runs of an output: which there are, and what each was."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jobs.errors import ConfigError
from jobs.runs.current import find_current
from jobs.runs.places import MANIFEST, RUNS
from jobs.runs.run import RUN_ID, Run
from jobs.storage.base import Storage

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


def find_run(storage: Storage, run_id: str | None) -> Run:
    """The run of an id, or the current one.

    Raises:
        ConfigError: no such run, or none is current yet.
    """
    if run_id is None:
        current = find_current(storage)
        if current is None:
            raise ConfigError(
                f"no run is current in {storage.root}; publish one, or name it: --run"
            )
        return current
    if not RUN_ID.fullmatch(run_id) or not storage.exists(Run.from_id(run_id).place):
        raise ConfigError(f"'{run_id}' is no run in {storage.root}; `runs` lists them")
    return Run.from_id(run_id)
