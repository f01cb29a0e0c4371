"""``publish.*`` and ``output.*``: what is published, and where."""

from pydantic import Field

from jobs.settings.base import NonEmpty, Section


class PublishConfig(Section):
    similar_items: int = Field(
        10,
        ge=0,
        le=1_000,
        description="Neighbours listed for each item in 'similar_items'; 0: none.",
    )
    factors: bool = Field(
        False, description="Write the tables 'user_factors' and 'item_factors' too."
    )
    scored_users: bool = Field(
        False,
        description="Write the table 'scored_users', by which nightly --reuse-model --changed-only "
        "knows the next night whose ratings have changed.",
    )
    titles: bool = Field(
        False, description="Add the column 'title' to 'recommendations', beside the item's id."
    )
    report: bool = Field(
        True,
        description="Make 'report.html', a page on the run, and the table 'recent_ratings' for it.",
    )
    keep_runs: int = Field(
        7, ge=1, description="Published runs that stay on disk; the current one always does."
    )
    keep_hours: float = Field(
        48.0,
        ge=0,
        description="Runs younger than this stay whatever their number: somebody may be reading.",
    )
    table: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$",
        description="External table 'database.table' of the metastore that is moved to each new "
        "run's recommendations; unset: none.",
    )


class OutputConfig(Section):
    path: NonEmpty = Field(description="Directory the runs are published in, any Hadoop path.")
