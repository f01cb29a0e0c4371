"""The name of a run, and what it says."""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime

from jobs.runs.places import RUNS

RUN_ID = re.compile(r"\d{4}-\d{2}-\d{2}-(\d{8}T\d{6})-[0-9a-f]{6}")
"""What ``Run.start`` makes, and all that is ever taken for a run: no other name is touched."""


@dataclass(frozen=True)
class Run:
    """One execution of the job."""

    run_id: str
    """Begins with the run's date; matches ``RUN_ID``."""
    run_date: date

    @classmethod
    def start(cls, run_date: date, now: datetime) -> "Run":
        """A run with a new id, which begins with its date and sorts by its start."""
        started = now.astimezone(UTC).strftime("%Y%m%dT%H%M%S")
        return cls(f"{run_date.isoformat()}-{started}-{secrets.token_hex(3)}", run_date)

    @classmethod
    def from_id(cls, run_id: str) -> "Run":
        """The run of an id. ValueError where it is none."""
        if not RUN_ID.fullmatch(run_id):
            raise ValueError(f"'{run_id}' is not a run id")
        return cls(run_id, date.fromisoformat(run_id[:10]))

    @property
    def started(self) -> datetime:
        """When it was started, in UTC, to the second."""
        text = self.run_id.rsplit("-", 2)[1]
        return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)

    @property
    def place(self) -> str:
        """Where it lies in the output once it is whole."""
        return f"{RUNS}/{self.run_id}"

    @property
    def footer(self) -> dict[str, str]:
        """What every Parquet footer says of its run."""
        return {"run_id": self.run_id, "run_date": self.run_date.isoformat()}
