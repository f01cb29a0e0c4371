"""Settings, as a closed model: every mistake ends before Spark starts. ``toml`` reads them.

Each field's description is its documentation: ``./spark-submit.sh config`` prints it.
"""

from typing import Self

from pydantic import Field, model_validator

from jobs.settings.base import Section
from jobs.settings.clean import CleanConfig
from jobs.settings.cluster import ClusterConfig
from jobs.settings.evaluate import EvaluateConfig
from jobs.settings.gate import GateConfig
from jobs.settings.input import InputConfig
from jobs.settings.lists import RulesConfig, ScoreConfig
from jobs.settings.models.sections import AUTO
from jobs.settings.publish import OutputConfig, PublishConfig
from jobs.settings.train import TrainConfig
from jobs.settings.tune import TuneConfig


class SparkConfig(Section):
    shuffle_partitions: int | None = Field(
        None,
        ge=1,
        description="Partitions of the ratings; unset: spark.sql.shuffle.partitions where that is "
        "given, else from the input's size.",
    )
    arrow_batch_rows: int | None = Field(
        None, ge=1, description="Rows of one Arrow batch to a Python worker; unset: as in conf/."
    )


class Config(Section):
    """All settings of a run."""

    input: InputConfig = Field(description="What is read.")
    clean: CleanConfig = Field(default_factory=CleanConfig, description="What is left out.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="How the model is trained.")
    evaluate: EvaluateConfig = Field(
        default_factory=EvaluateConfig, description="How the model is measured."
    )
    tune: TuneConfig = Field(default_factory=TuneConfig, description="What `tune` searches.")
    score: ScoreConfig = Field(default_factory=ScoreConfig, description="What users get.")
    rules: RulesConfig = Field(default_factory=RulesConfig, description="What lists may hold.")
    cluster: ClusterConfig = Field(default_factory=ClusterConfig, description="Item clusters.")
    publish: PublishConfig = Field(
        default_factory=PublishConfig, description="What is published beside the lists."
    )
    gate: GateConfig = Field(
        default_factory=GateConfig, description="What a run must keep to become current."
    )
    output: OutputConfig = Field(description="Where it goes.")
    spark: SparkConfig = Field(default_factory=SparkConfig, description="How Spark splits work.")

    @model_validator(mode="after")
    def _pool_fills_a_list(self) -> Self:
        if self.rules.diversity > 0 and self.rules.diversity_pool < self.score.k:
            raise ValueError(
                f"rules.diversity_pool = {self.rules.diversity_pool} is below score.k = "
                f"{self.score.k}: diversity could choose nothing"
            )
        return self

    @model_validator(mode="after")
    def _publishes_factors_that_rank(self) -> Self:
        if self.publish.factors:
            for model in self.train.models:
                if not self.train.section(model).scores_are_products:
                    raise ValueError(
                        f"publish.factors = true, but scores of model '{model}' are no products of "
                        "factors: set it to false, or take another train.model"
                    )
        return self

    def with_training(self, train: TrainConfig) -> Self:
        """These settings, but for those of training."""
        return self.model_copy(update={"train": train})

    @property
    def evaluates(self) -> bool:
        """Whether a night measures models: where it is asked to, or has to choose."""
        return self.evaluate.enabled or self.train.model == AUTO
