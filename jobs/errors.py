"""Failures a user can act on. Each ends the program with one line and its own exit code."""


class JobError(Exception):
    """Base of the failures whose message is meant for the terminal: one line, no traceback."""

    exit_code = 1


class TrainingFailedError(JobError):
    """Training left no usable model: factors that are not finite, or all zero."""


class ConfigError(JobError):
    """A setting, option or query that cannot be: names the file, the key and what is allowed."""

    exit_code = 2


class MachineError(JobError):
    """Something missing on the machine or cluster: Java, a GPU, a place that can be written."""

    exit_code = 3


class InputError(JobError):
    """Input that is missing, unreadable, or leaves nothing to recommend from."""

    exit_code = 4


class AuditError(JobError):
    """A finished run that does not hold what it promises; it was not published."""

    exit_code = 5


class GateError(JobError):
    """A whole run outside the bounds of ``gate.*``: kept as rejected, not made current."""

    exit_code = 5


class LockedError(JobError):
    """Another run is at work on the same output; the message says which."""

    exit_code = 6
