"""``train.*``: which model, and how it is trained. The settings of each model are in ``models``."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from jobs.settings.base import Section, with_fields
from jobs.settings.models.base import ModelSection
from jobs.settings.models.sections import AUTO, MODEL_SECTIONS, ModelChoice, ModelName


@with_fields(
    {
        model: (
            section,
            Field(default_factory=section, description=f"Settings of model '{model}'."),
        )
        for model, section in MODEL_SECTIONS.items()
    }
)
class TrainConfig(Section):
    model: ModelChoice = Field(
        "nmf",
        description="Which factor model to train; 'auto' measures train.candidates on a split "
        "(evaluate.*) and takes the best.",
    )
    candidates: Annotated[list[ModelName], Field(min_length=1)] = Field(
        ["nmf", "als", "ease"], description="Models that 'auto' chooses from."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of initialisation and order.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where torch trains; 'cuda' ends the run where there is no GPU."
    )
    max_users: int | None = Field(
        None,
        ge=1,
        description="Train on at most so many users, drawn by a hash of their ids; everyone is "
        "scored all the same. Unset: all.",
    )

    @property
    def models(self) -> list[str]:
        """The models that a night trains or chooses from."""
        return [*dict.fromkeys(self.candidates)] if self.model == AUTO else [self.model]

    def with_model(self, model: str) -> Self:
        """These settings for one model, as ``auto`` has chosen it."""
        return self.model_copy(update={"model": model})

    def section(self, model: str) -> ModelSection:
        """The settings of one model."""
        section: ModelSection = getattr(self, model)
        return section

    def settings_of(self, model: str) -> dict[str, Any]:
        """What the model's trainer takes: its section, and those of models that it is made of."""
        section = self.section(model)
        parts = {part: self.section(part).model_dump() for part in section.made_of}
        return {**section.model_dump(), **parts}

    def with_settings(self, model: str, settings: Mapping[str, Any]) -> Self:
        """These settings with one model, and that with some settings of its own."""
        section = self.section(model).model_copy(update=dict(settings))
        return self.model_copy(update={"model": model, model: section})
