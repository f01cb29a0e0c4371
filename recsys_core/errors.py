"""What can go wrong in the core, as types a caller can tell apart."""


class TrainingError(RuntimeError):
    """Training ended without a usable model; the message names the setting to change."""


class ModelFormatError(ValueError):
    """Bytes that are not a whole, known, undamaged model."""


class DeviceError(RuntimeError):
    """The requested compute device is not there."""


class QueryError(ValueError):
    """A query that cannot be answered; the message says which part and what would do."""
