"""Items, clusters and counts in words, safe for a terminal."""

from jobs.process.terminal import printable


def name_item(item_id: int | str, title: str | None) -> str:
    """``Title [id]``; the id alone of an item without a title."""
    return printable(f"{title} [{item_id}]" if title else item_id)


def name_cluster(cluster: int, name: str | None) -> str:
    """Its number and, where it has one, its name."""
    return printable(f"cluster {cluster}: {name}" if name else f"cluster {cluster}")


def count_noun(number: int, noun: str) -> str:
    """``1 rating``, ``1,234 ratings``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
