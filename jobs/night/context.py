"""What every stage of one night has at hand."""

from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession

from jobs.night.choices import Choices
from jobs.process.clock import StageClock
from jobs.runs.staged import StagedRun
from jobs.settings.config import Config
from jobs.storage.base import Storage


@dataclass(frozen=True)
class Night:
    """One run of the job, from its start to its end."""

    spark: SparkSession
    config: Config
    choices: Choices
    storage: Storage
    staged: StagedRun
    environment: dict[str, Any]
    """What runs on driver and executors, for the manifest."""
    clock: StageClock = field(default_factory=StageClock)
