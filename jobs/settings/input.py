"""``input.*``: what is read, and how."""

from typing import Annotated, Literal

from pydantic import Field

from jobs.settings.base import NonEmpty, Section

IdType = Literal["auto", "integer", "string"]


class RatingColumns(Section):
    user: NonEmpty = Field("userId", description="Column of the user id.")
    item: NonEmpty = Field("movieId", description="Column of the item id.")
    rating: NonEmpty = Field("rating", description="Column of the rating.")
    timestamp: NonEmpty | None = Field(
        None,
        description="Column of the rating's time, which must then exist; "
        "unset: a column 'timestamp' is used where there is one.",
    )


class ItemColumns(Section):
    item: NonEmpty = Field("movieId", description="Column of the item id.")
    title: NonEmpty = Field("title", description="Column of the title.")
    genres: NonEmpty | None = Field(
        None,
        description="Column of the genres, separated by '|', which must then exist; "
        "unset: a column 'genres' is used where there is one.",
    )


class InputConfig(Section):
    ratings: NonEmpty = Field(
        description="Ratings: file, directory or glob of CSV (.gz too) or Parquet, any Hadoop path."
    )
    items: NonEmpty | None = Field(
        None, description="Titles and genres of the items, CSV or Parquet; unset: ids stand alone."
    )
    format: Literal["auto", "csv", "parquet"] = Field(
        "auto", description="Format of the input files; 'auto' goes by their names."
    )
    separator: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        ",", description="Field separator of CSV files."
    )
    user_id_type: IdType = Field(
        "auto",
        description="Type of user ids; 'auto' takes Parquet's own, and for CSV looks at the first "
        "thousand rows. State it in production, where the type must not follow the data.",
    )
    item_id_type: IdType = Field("auto", description="Type of item ids, as input.user_id_type.")
    columns: RatingColumns = Field(
        default_factory=RatingColumns, description="Columns of the ratings, found by name."
    )
    item_columns: ItemColumns = Field(
        default_factory=ItemColumns, description="Columns of the items, found by name."
    )
