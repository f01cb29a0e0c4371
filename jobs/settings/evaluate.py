"""``evaluate.*``: what is held out of training, and what is measured on it."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from jobs.settings.base import Section
from recsys_core.evaluation.metric_names import QUALITY_METRICS, split_liked

LIST_METRIC: Final = rf"({'|'.join(QUALITY_METRICS)})@[1-9]\d*"
"""Pattern of a metric of lists with its cutoff, as ndcg@10 or liked_ndcg@10."""


class EvaluateConfig(Section):
    enabled: bool = Field(
        False,
        description="Measure the model each night on ratings that training did not see. It is "
        "trained once more for that.",
    )
    split: Literal["random", "latest", "time", "new_users"] = Field(
        "random",
        description="What is held out: a random share of each user's ratings, each user's latest "
        "ratings, all ratings after one point in time, or part of the ratings of users who are "
        "not trained on.",
    )
    held_out: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share that is held out, of ratings ('random', 'time') or users ('new_users').",
    )
    latest: int = Field(
        1, ge=1, description="Ratings of each user that the split 'latest' holds out."
    )
    known: float = Field(
        0.5, gt=0, lt=1, description="Share of a new user's ratings that it is folded in from."
    )
    cutoffs: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1)] = Field(
        [5, 10, 20], description="Lengths k of the lists that are measured."
    )
    select_by: str = Field(
        "ndcg@10",
        pattern=f"^{LIST_METRIC}$",
        description="What 'auto' and the gate compare models by; its k is one of the cutoffs. "
        "'ndcg@10': every held-out rating is relevant; 'liked_ndcg@10': those that are liked.",
    )
    min_liked_share: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Held-out ratings from this share of clean.max_rating on are liked: 4 where "
        "that is 5. Lists are measured by those alone too, beside every held-out rating.",
    )
    min_relevant_rating: float | None = Field(
        None,
        ge=0,
        description="The one bound to measure by, in units of a rating: what is below it is not "
        "relevant to any metric of lists. 0: every rating is. Unset: every rating, and what is "
        "liked beside it.",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the split and the bootstrap.")

    @property
    def metric(self) -> tuple[str, int]:
        """``select_by`` as the metric and its k."""
        name, k = self.select_by.split("@")
        return name, int(k)

    @property
    def selects_liked(self) -> bool:
        """Whether models are compared by what was liked."""
        return split_liked(self.metric[0])[1]

    def find_liked_rating(self, max_rating: float) -> float | None:
        """From which rating on an item is liked; None where there is one bound for all metrics."""
        return None if self.min_relevant_rating is not None else self.min_liked_share * max_rating

    @model_validator(mode="after")
    def _measures_what_it_selects_by(self) -> Self:
        if self.metric[1] not in self.cutoffs:
            raise ValueError(f"select_by = {self.select_by!r}, but cutoffs = {self.cutoffs}")
        if self.selects_liked and self.min_relevant_rating is not None:
            raise ValueError(
                f"select_by = {self.select_by!r}, but min_relevant_rating is set: leave it unset, "
                "or select by a metric that is not of what is liked"
            )
        return self
