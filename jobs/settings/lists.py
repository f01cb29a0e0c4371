"""``score.*`` and ``rules.*``: what users get, and what their lists may hold."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from jobs.settings.base import NonEmpty, Section


class ScoreConfig(Section):
    k: int = Field(10, ge=1, le=10_000, description="Recommendations for each user.")
    fallback: Literal["none", "popularity"] = Field(
        "none",
        description="What users get of whom no rating is left after cleaning: nothing, or the most "
        "rated items, with source 'popularity'.",
    )


def _check_ids_or_file(value: Any) -> Any:
    # In place of pydantic's own check of a union, whose message is about each of its parts.
    is_list = isinstance(value, (list, tuple))
    if is_list and {type(item) for item in value} in (set(), {int}, {str}):
        return [*value]
    if isinstance(value, str) and value:
        return value
    raise ValueError("must be a file, or a list of item ids, all of them numbers or all text")


ItemSet = Annotated[list[int] | list[str] | str, PlainValidator(_check_ids_or_file)]


class RulesConfig(Section):
    """What lists may hold. A list that the rules leave too little for is shorter, never wrong."""

    allow: ItemSet | None = Field(
        None,
        description="Items that may be recommended: a list of ids, or a CSV or Parquet file with "
        "the column input.item_columns.item; unset: all.",
    )
    block: ItemSet | None = Field(
        None,
        description="Items that may not be recommended, nor listed as similar; ids or a file, as "
        "rules.allow.",
    )
    min_score: float | None = Field(
        None, description="Recommendations with a lower score of the model are left out."
    )
    genre_caps: dict[NonEmpty, Annotated[int, Field(ge=0)]] = Field(
        {},
        description="Most items of a genre in a list, by genre; '*' is for each that is not named.",
    )
    max_cluster_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Largest share of score.k that items of one cluster may have, rounded down, "
        "but one item always.",
    )
    diversity: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Weight of unlikeness (MMR on the item factors) against the score in the order "
        "of a list; 0: the score alone.",
    )
    diversity_pool: int = Field(
        50,
        ge=1,
        le=10_000,
        description="How many of a user's best items diversity chooses from; at least score.k.",
    )

    @property
    def are_set(self) -> bool:
        """Whether any rule has something to say."""
        unset = type(self)(diversity_pool=self.diversity_pool)
        return self != unset

    def cap_clusters(self, k: int) -> int | None:
        """Most items of one cluster in a list of k; None where there is no such rule."""
        if self.max_cluster_share == 1:
            return None
        return max(1, int(self.max_cluster_share * k + 1e-9))  # 0.29 * 100 is below 29
