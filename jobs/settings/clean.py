"""``clean.*``: which rows are valid, and which items and users are left out."""

from typing import Self

from pydantic import Field, model_validator

from jobs.settings.base import Section


class CleanConfig(Section):
    min_rating: float = Field(
        0.5, ge=0, description="Lowest valid rating; a row below it is quarantined."
    )
    max_rating: float = Field(
        5.0, gt=0, description="Highest valid rating; a row above it is quarantined."
    )
    min_item_ratings: int = Field(
        1, ge=1, description="Items with fewer ratings are left out (the notebooks: 21)."
    )
    min_item_mean_rating: float = Field(
        0.0, ge=0, description="Items with a lower mean rating are left out (the worksheet: 2)."
    )
    min_user_ratings: int = Field(
        1, ge=1, description="Users with fewer ratings of the items kept are left out."
    )

    max_bad_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Largest share of input rows that may be quarantined; above it the run stops "
        "before training.",
    )

    @property
    def rating_range(self) -> tuple[float, float]:
        """The lowest and the highest valid rating."""
        return self.min_rating, self.max_rating

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_rating > self.max_rating:
            raise ValueError(
                f"min_rating = {self.min_rating:g} exceeds max_rating = {self.max_rating:g}"
            )
        return self
