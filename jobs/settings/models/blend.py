"""``train.blend.*``: ``slim`` and a low-rank model on one scale."""

from typing import ClassVar, Literal

from pydantic import Field

from jobs.settings.models.base import ModelSection, SearchSpace, any_of


class BlendConfig(ModelSection):
    scores_are_products = False
    search_space: ClassVar[SearchSpace] = {"low_rank": any_of("als", "ease")}

    low_rank: Literal["als", "ease"] = Field(
        "als", description="The model beside slim; both are trained as their own sections say."
    )
    weight: float | None = Field(
        None,
        gt=0,
        description="What the low-rank model's scores weigh beside those of slim, at the same "
        "spread; unset: found on a split of the ratings, which trains both once more.",
    )

    @property
    def made_of(self) -> tuple[str, ...]:
        return ("slim", self.low_rank)
