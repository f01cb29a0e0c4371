"""How a run may end, and the failures a user can act on: one line and an exit code each."""

import signal
from dataclasses import dataclass
from typing import ClassVar, Final


@dataclass(frozen=True)
class ExitCode:
    """One way for a command to end, as schedulers and people see it."""

    code: int
    meaning: str
    current: str = "unchanged"
    """What becomes of ``current``, the run that readers see."""


PUBLISHED: Final = ExitCode(0, "published", current="moved to the new run")
CONFIGURATION: Final = ExitCode(2, "configuration: a setting, option or query")
ENVIRONMENT: Final = ExitCode(
    3,
    "environment: Java, Python, a GPU that was asked for, output that cannot be written, a plan "
    "that cannot fit",
)
INPUT: Final = ExitCode(4, "input: missing, unreadable, or nothing left of it")
REJECTED: Final = ExitCode(5, "the written run failed its audit, or the gate rejected it")
LOCKED: Final = ExitCode(6, "another run holds the output; the message says which")
STOPPED: Final = ExitCode(
    128 + signal.SIGTERM,  # as a shell tells it
    "stopped by SIGTERM, as schedulers do",
    current="unchanged, unless the run was published already",
)
OTHER: Final = ExitCode(1, "anything else")

EXIT_CODES: Final = (
    *(PUBLISHED, CONFIGURATION, ENVIRONMENT, INPUT),
    *(REJECTED, LOCKED, STOPPED, OTHER),
)
"""All there are, in the order in which they are documented."""


class JobError(Exception):
    """Base of the failures whose message is meant for the terminal: one line, no traceback."""

    exit_code: ClassVar[int] = OTHER.code


class TrainingFailedError(JobError):
    """Training left no usable model: factors that are not finite, or all zero."""


class ConfigError(JobError):
    """A setting, option or query that cannot be: names the file, the key and what is allowed."""

    exit_code = CONFIGURATION.code


class MachineError(JobError):
    """Something missing on the machine or cluster: Java, a GPU, a place that can be written."""

    exit_code = ENVIRONMENT.code


class InputError(JobError):
    """Input that is missing, unreadable, or leaves nothing to recommend from."""

    exit_code = INPUT.code


class AuditError(JobError):
    """A finished run that does not hold what it promises; it was not published."""

    exit_code = REJECTED.code


class GateError(JobError):
    """A whole run outside the bounds of ``gate.*``: kept as rejected, not made current."""

    exit_code = REJECTED.code


class LockedError(JobError):
    """Another run is at work on the same output; the message says which."""

    exit_code = LOCKED.code
