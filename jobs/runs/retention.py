"""Which runs may go, and their removal."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from jobs.runs.places import STAGING, STATUS
from jobs.runs.records import list_runs
from jobs.runs.run import RUN_ID, Run
from jobs.storage.base import Storage
from jobs.tables.published import QUARANTINE


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
