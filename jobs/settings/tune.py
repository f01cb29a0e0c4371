"""``tune.*``: which settings of a model are searched, and where."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from jobs.settings.base import Section, with_fields
from jobs.settings.evaluate import LIST_METRIC
from jobs.settings.models.base import SearchSpace
from jobs.settings.models.sections import MODEL_SECTIONS, ModelName
from recsys_core.evaluation.metric_names import PREDICTION_METRICS


@with_fields(
    {
        model: (
            SearchSpace,
            Field(section.search_space, description=f"Settings of '{model}' to search, and where."),
        )
        for model, section in MODEL_SECTIONS.items()
    }
)
class TuneConfig(Section):
    """What ``tune`` searches. A space that is set takes the place of the model's own."""

    models: Annotated[list[ModelName], Field(min_length=1)] | None = Field(
        None, description="Models to tune; unset: train.model, or its candidates."
    )
    metric: str = Field(
        "ndcg@10",
        pattern=f"^({'|'.join((LIST_METRIC, *PREDICTION_METRICS))})$",
        description="What is made best: a metric of the lists, as evaluate.select_by, or of the "
        "predictions of 'mf'.",
    )
    trials: int = Field(30, ge=1, description="Settings tried of each model.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the search.")

    @property
    def measured(self) -> tuple[str, int | None]:
        """``metric`` as its name and its k, which is None for predictions."""
        name, _, k = self.metric.partition("@")
        return name, int(k) if k else None

    @property
    def minimizes(self) -> bool:
        """Whether less of the metric is better."""
        return self.metric in PREDICTION_METRICS

    def with_trials(self, trials: int) -> Self:
        """These settings with another number of trials."""
        return self.model_copy(update={"trials": trials})

    def space(self, model: str) -> SearchSpace:
        """The ranges for one model."""
        space: SearchSpace = getattr(self, model)
        return space

    @model_validator(mode="after")
    def _searches_settings_that_are_there(self) -> Self:
        for model, section in MODEL_SECTIONS.items():
            for name, search in self.space(model).items():
                if name not in section.model_fields:
                    allowed = ", ".join(section.model_fields)
                    raise ValueError(f"{model}.{name} is no setting of the model; it has {allowed}")
                for value in search.ends:
                    section.require_valid(name, value)
        return self
