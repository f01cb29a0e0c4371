"""``tune.*``: which settings of a model are searched, and where."""

from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from jobs.settings.base import Section
from jobs.settings.evaluate import LIST_METRIC
from jobs.settings.train import MODEL_SECTIONS, ModelName
from recsys_core.evaluation.metric_names import PREDICTION_METRICS


class SearchRange(Section):
    """Values that ``tune`` tries for one setting: from low to high, or one of some choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: Annotated[list[bool | int | float | str], Field(min_length=1)] | None = None

    @property
    def ends(self) -> list[Any]:
        """Values that must be valid for all to be."""
        return self.choices if self.choices is not None else [self.low, self.high]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.log) != (None, None, False):
                raise ValueError("takes choices, or low and high, not both")
        elif self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("needs low and high, low below high, or choices")
        elif self.log and self.low <= 0:
            raise ValueError("low must be above 0 where log = true")
        return self


SearchSpace = dict[str, SearchRange]


def _log(low: float, high: float) -> SearchRange:
    return SearchRange(low=low, high=high, log=True)


def _any_of(*choices: bool | float | str) -> SearchRange:
    return SearchRange(choices=[*choices])


class TuneConfig(Section):
    """What ``tune`` searches. The rank of 'ease' is left out: more is better, and slower."""

    models: Annotated[list[ModelName], Field(min_length=1)] | None = Field(
        None, description="Models to tune; unset: train.model, or its candidates."
    )
    metric: str = Field(
        "ndcg@10",
        pattern=f"^({'|'.join((LIST_METRIC, *PREDICTION_METRICS))})$",
        description="What is made best: a metric of the lists, or of the predictions of 'mf'.",
    )
    trials: int = Field(30, ge=1, description="Settings tried of each model.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the search.")
    nmf: SearchSpace = Field(
        {
            "n_components": _log(5, 200),
            "regularization": _any_of(0.0, 0.001, 0.01),
            "binary": _any_of(False, True),
        },
        description="Settings of 'nmf' to search, and where.",
    )
    mf: SearchSpace = Field(
        {
            "n_factors": _log(8, 128),
            "regularization": _log(0.01, 0.3),
            "learning_rate": _log(0.001, 0.03),
            "fold_in_regularization": _log(0.01, 0.3),
        },
        description="Settings of 'mf' to search, and where.",
    )
    als: SearchSpace = Field(
        {
            "n_factors": _log(32, 256),
            "iterations": _log(2, 16),
            "regularization": _log(0.3, 30.0),
            "unobserved_weight": _log(0.03, 1.0),
        },
        description="Settings of 'als' to search, and where.",
    )
    ease: SearchSpace = Field(
        {
            "regularization": _log(1.0, 1_000.0),
            "popularity_exponent": SearchRange(low=0.0, high=0.5),
            "activity_exponent": SearchRange(low=0.0, high=0.5),
            "scaling": _any_of("diagonal", "length"),
        },
        description="Settings of 'ease' to search, and where.",
    )

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
                    _require_value(section, name, value)
        return self


def _require_value(section: type[Section], name: str, value: Any) -> None:
    try:
        section.model_validate({name: to_setting(section, name, value)})
    except ValidationError as error:
        raise ValueError(f"{name} = {value!r}: {error.errors()[0]['msg']}") from None


def to_setting(section: type[Section], name: str, value: Any) -> Any:
    """A searched value in the type of the setting: whole numbers stay whole."""
    is_whole = section.model_fields[name].annotation is int
    return round(value) if is_whole and isinstance(value, float) else value
