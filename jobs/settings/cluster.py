"""``cluster.*``: item clusters."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainValidator

from jobs.settings.base import Section
from recsys_core.items.cluster_metrics import ClusterMetric

CHOOSE: Final = "choose"


def _check_n_clusters(value: Any) -> Any:
    # In place of pydantic's own check of a union, whose message is about each of its parts.
    if value == CHOOSE or (type(value) is int and value >= 1):
        return value
    raise ValueError(f"must be a whole number of at least 1, or '{CHOOSE}'")


class ClusterConfig(Section):
    n_clusters: Annotated[int | Literal["choose"], PlainValidator(_check_n_clusters)] = Field(
        10,
        description="Number of item clusters; 'choose' takes the one of cluster.choose_from with "
        "the best silhouette.",
    )
    choose_from: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)] = Field(
        [4, 6, 8, 10, 12, 15, 20],
        description="Numbers of clusters that 'choose' tries; those not below the number of items "
        "are passed over.",
    )
    metric: ClusterMetric = Field(
        "cosine",
        description="What makes items alike: 'cosine' goes by the direction of their factors; "
        "'euclidean' by length too, and long ones may end in a cluster of their own.",
    )
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Seed of KMeans.")
