"""``gate.*``: the bounds a run must keep."""

from pydantic import Field

from jobs.settings.base import Section


class GateConfig(Section):
    """Bounds a run must keep to become current. Those that compare need a run before it."""

    min_users_covered: float = Field(
        0.8, ge=0, le=1, description="Least share of the input's users who must have a list."
    )
    min_rows: int = Field(1, ge=0, description="Least number of recommendations.")
    min_item_coverage: float = Field(
        0.01, ge=0, le=1, description="Least share of the items that are recommended to anybody."
    )
    max_top_item_share: float = Field(
        0.95, ge=0, le=1, description="Largest share of the lists that hold one and the same item."
    )
    min_score: float = Field(-1e6, description="No score of the model may be lower.")
    max_score: float = Field(1e6, description="No score of the model may be higher.")
    max_bad_factors: int = Field(
        0, ge=0, description="Most numbers among the item factors that may not be finite."
    )
    max_quarantined: float = Field(
        0.05, ge=0, le=1, description="Largest share of input rows in quarantine."
    )
    max_input_drop: float = Field(
        0.2, ge=0, le=1, description="Largest loss of input rows since the current run."
    )
    min_overlap: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Least mean share of a user's list that was in the current run's list too.",
    )
    min_gain_over_popularity: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="The model must be above popularity by more than this, in evaluate.select_by; "
        "held where the night is evaluated.",
    )
