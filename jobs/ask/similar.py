"""The items nearest to one."""

from collections.abc import Iterator, Sequence

from jobs.ask.wording import name_item
from recsys_core.query.recommender import SimilarItem


def format_similar(items: Sequence[SimilarItem]) -> Iterator[str]:
    """Lines for a terminal: rank, cosine, title, id."""
    for item in items:
        yield f"{item.rank:3d}  {item.similarity:7.3f}  {name_item(item.item_id, item.title)}"
