"""What the person who starts a night decides, beside the settings. No Spark."""

from dataclasses import dataclass

from jobs.errors import ConfigError


@dataclass(frozen=True)
class Choices:
    """The flags of ``nightly``.

    Raises:
        ConfigError: flags that do not go together.
    """

    force: bool = False
    """Publish although the gate says no; the manifest records it."""
    promote: bool = False
    """Make the run current although the current one has a later date."""
    reuse_model: bool = False
    """Train nothing: score with the model of the run that is current."""
    changed_only: bool = False
    """With that model, score only users whose ratings have changed since that run."""

    def __post_init__(self) -> None:
        if self.changed_only and not self.reuse_model:
            raise ConfigError(
                "--changed-only needs --reuse-model: of another model nobody's list can be kept"
            )
