"""The public data sets that ``fetch`` knows, one entry each. All else derives from them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A CSV file of a data set, and the columns and size by which it is known."""

    file: str
    columns: tuple[str, ...]
    n_bytes: range = range(10**5, 10**8)


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from, what must be in it, and how ``nightly`` reads it."""

    directory: str
    archive_url: str
    md5_url: str | None
    """Of the publisher's file beside the archive."""
    ratings: Table
    items: Table
    config: str
    """For ``nightly``, relative to the checkout."""
    settings: tuple[str, ...]
    """For its ``--set``."""
    licence: str
    citation: str


def _describe_movielens(directory: str, ratings_bytes: range) -> DataSet:
    archive_url = f"https://files.grouplens.org/datasets/movielens/{directory}.zip"
    return DataSet(
        directory=directory,
        archive_url=archive_url,
        md5_url=f"{archive_url}.md5",
        ratings=Table("ratings.csv", ("userId", "movieId", "rating", "timestamp"), ratings_bytes),
        items=Table("movies.csv", ("movieId", "title", "genres")),
        config="conf/movielens.toml",
        settings=(),
        licence="research use, redistribution under the same conditions, no commercial use without "
        "permission of GroupLens; its README.txt has it in full",
        citation="F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History "
        "and Context. ACM Transactions on Interactive Intelligent Systems 5, 4, 19. "
        "https://doi.org/10.1145/2827872",
    )


_GOODBOOKS = DataSet(
    directory="goodbooks-10k",
    archive_url="https://github.com/zygmuntz/goodbooks-10k/releases/download/v1.0/goodbooks-10k.zip",
    md5_url=None,
    ratings=Table("ratings.csv", ("user_id", "book_id", "rating"), range(40 * 10**6, 10**8)),
    # Only this release has the last column; before it, book_id was what that column now holds.
    items=Table("books.csv", ("book_id", "title", "goodreads_book_id")),
    config="conf/goodbooks.toml",
    settings=("input.item_columns.item=book_id",),
    licence="Creative Commons Attribution-ShareAlike 4.0, "
    "https://creativecommons.org/licenses/by-sa/4.0/",
    citation="Zygmunt Zajac. 2017. Goodbooks-10k: a new dataset for book recommendations. FastML. "
    "http://fastml.com/goodbooks-10k",
)

DATA_SETS = {
    # The one changes over the years, and is at 2.5 MB; the other is at 678 MB for good.
    "movielens-small": _describe_movielens("ml-latest-small", range(10**6, 50 * 10**6)),
    "movielens-25m": _describe_movielens("ml-25m", range(500 * 10**6, 10**9)),
    "goodbooks": _GOODBOOKS,
}
