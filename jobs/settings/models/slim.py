"""``train.slim.*``: sparse item-to-item weights."""

from typing import ClassVar

from pydantic import Field

from jobs.settings.models.base import ModelSection, SearchRange, SearchSpace, log_range


class SlimConfig(ModelSection):
    scores_are_products = False
    search_space: ClassVar[SearchSpace] = {
        "regularization": log_range(5.0, 500.0),
        "activity_exponent": SearchRange(low=0.0, high=0.5),
        "popularity_exponent": SearchRange(low=0.0, high=0.3),
        "rating_weight": SearchRange(low=0.0, high=0.4),
    }

    neighbours: int = Field(
        50,
        ge=1,
        le=1_000,
        description="Other items that an item's score is made of, the most alike ones.",
    )
    regularization: float = Field(
        60.0, gt=0, description="Ridge weight, in units of ratings that two items share."
    )
    activity_exponent: float = Field(
        0.2,
        ge=0,
        le=1,
        description="How far users of many ratings count for less: 0 not at all.",
    )
    popularity_exponent: float = Field(
        0.1,
        ge=0,
        le=1,
        description="How far scores of items of many ratings are made less: 0 not at all.",
    )
    rating_weight: float = Field(
        0.2,
        ge=0,
        description="What one unit of rating above the mean adds to the 1 that a rating counts; "
        "0: what is rated counts, not how well.",
    )
