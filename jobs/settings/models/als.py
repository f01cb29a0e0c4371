"""``train.als.*``: implicit alternating least squares."""

from typing import ClassVar

from pydantic import Field

from jobs.settings.models.base import ModelSection, SearchRange, SearchSpace, log_range


class AlsConfig(ModelSection):
    search_space: ClassVar[SearchSpace] = {
        "n_factors": log_range(32, 256),
        "iterations": log_range(2, 16),
        "regularization": log_range(0.3, 30.0),
        "unobserved_weight": log_range(0.03, 1.0),
        "rating_weight": SearchRange(low=0.0, high=0.5),
    }

    n_factors: int = Field(128, ge=1, description="Number of factors.")
    iterations: int = Field(5, ge=1, description="Times users and items are solved in turn.")
    regularization: float = Field(
        4.0, gt=0, description="L2 weight, scaled as train.als.frequency_exponent says."
    )
    unobserved_weight: float = Field(
        0.1,
        gt=0,
        description="Weight of a pair without a rating; one with a rating weighs 1, see "
        "train.als.rating_weight.",
    )
    frequency_exponent: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How the L2 weight grows with the ratings of a user or item: 0 not at all, "
        "1 in proportion.",
    )
    rating_weight: float = Field(
        0.0,
        ge=0,
        description="What a unit of rating above the mean adds to a rated pair's weight of 1: with "
        "0 it counts what is rated, and not how well.",
    )
