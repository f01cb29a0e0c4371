"""``train.ease.*``: low-rank EASE."""

from typing import ClassVar, Literal

from pydantic import Field

from jobs.settings.models.base import ModelSection, SearchRange, SearchSpace, any_of, log_range


class EaseConfig(ModelSection):
    # Without the rank: more is better, and slower.
    search_space: ClassVar[SearchSpace] = {
        "regularization": log_range(1.0, 1_000.0),
        "popularity_exponent": SearchRange(low=0.0, high=0.5),
        "activity_exponent": SearchRange(low=0.0, high=0.5),
        "scaling": any_of("diagonal", "length"),
        "rating_weight": SearchRange(low=0.0, high=0.5),
    }

    n_factors: int = Field(
        256,
        ge=1,
        description="Rank: directions kept, at most those there are. Lists get better with it, "
        "and scoring slower.",
    )
    regularization: float = Field(
        200.0, gt=0, description="Ridge weight, in units of a squared singular value."
    )
    popularity_exponent: float = Field(
        0.25,
        ge=0,
        le=1,
        description="How far directions are kept for items of few ratings: 0 goes by the ratings "
        "alone; more helps where there are many items for the rank.",
    )
    activity_exponent: float = Field(
        0.25,
        ge=0,
        le=1,
        description="How far users of many ratings count for less: 0 not at all, as in EASE.",
    )
    power_iterations: int = Field(
        2,
        ge=0,
        le=100,
        description="How near directions come to the largest singular vectors; not always better.",
    )
    scaling: Literal["diagonal", "length"] = Field(
        "diagonal",
        description="What makes up for items that the directions hardly reach: EASE's diagonal, or "
        "their length, which is better where there are many items for the rank.",
    )
    rating_weight: float = Field(
        0.0,
        ge=0,
        description="What a unit of rating above the mean adds to a rating's weight, which is 1: "
        "with 0 it counts what is rated, and not how well.",
    )
