"""Hold an output for one run, and clear up after those that died holding it."""

import logging
import os
import socket
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from jobs.runs.current import find_current, read_pointer, switch_current
from jobs.runs.places import RUNS, STAGING, STATUS
from jobs.runs.run import RUN_ID
from jobs.storage.base import Storage, sweep_temporaries
from jobs.tables.published import QUARANTINE

logger = logging.getLogger(__name__)


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
    if current is not None and read_pointer(storage) != current:
        switch_current(storage, current)
