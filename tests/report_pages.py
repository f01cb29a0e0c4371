"""Reports to look at: runs made by hand, what is in a page, and titles that mean harm."""

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd

from jobs.report.content import ReportData, RunItems
from jobs.report.counting.counts import ListCounts

RUN_ID = "2026-11-21-20261121T030000-abcdef"
HOSTILE = "<script>alert(1)</script>"
HOSTILE_TEXTS = (
    HOSTILE,
    "</script><script>document.title = 'taken'</script>",
    "<!-- <script>",
    "<img src=x onerror=alert(2)>",
    "{{ manifest }} {% raw %} &lt;b&gt; ' \" \\ \u2028 \u2029",
)


class PageParts(HTMLParser):
    """The tags of a page, its text, and the contents of its scripts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.policy = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = ("src", "href", "action", "srcset", "data", "poster")
        self.addresses += [value or "" for name, value in attrs if name in named]
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs)["content"] or ""
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script" and self.scripts:
            self.scripts[-1] += data
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self.tags.append("/script")


def before_making(page: bytes) -> bytes:
    """All but how long the stages took: the night's own page cannot know its last ones."""
    first, _, rest = page.partition(b'<section id="making">')
    return first + rest.partition(b"</main>")[2]


def with_hostile_texts(data: ReportData) -> ReportData:
    """The same report of items, users and clusters with such names."""

    def pick(place: int) -> str:
        return HOSTILE_TEXTS[place % len(HOSTILE_TEXTS)]

    return replace(
        data,
        coverage=replace(
            data.coverage,
            top=[replace(item, name=pick(at)) for at, item in enumerate(data.coverage.top)],
        ),
        map=replace(
            data.map,
            items=[
                replace(item, name=pick(at), genres=pick(at + 1))
                for at, item in enumerate(data.map.items)
            ],
        ),
        clusters=[
            replace(
                card,
                name=pick(at),
                titles=[*HOSTILE_TEXTS],
                genres=[replace(genre, name=pick(at)) for genre in card.genres],
            )
            for at, card in enumerate(data.clusters)
        ],
        excluded=[replace(one, reason=pick(at)) for at, one in enumerate(data.excluded)],
        sampled_users=[
            replace(user, user=f"{user.user} {pick(at)}")
            for at, user in enumerate(data.sampled_users)
        ],
        sampled_items=[pick(at) for at in range(len(data.sampled_items))],
    )


def make_manifest(**parts: Any) -> dict[str, Any]:
    """A manifest with what the report needs; three users, two of whom have a list."""
    return {
        "run_id": RUN_ID,
        "run_date": "2026-11-21",
        "state": "published",
        "config": {"score": {"k": 3}},
        "funnel": [
            {"step": "input", "rule": "rows read", "rows": 12, "users": 3, "items": 5},
            {"step": "active", "rule": "users", "rows": 10, "users": 3, "items": 4},
        ],
        "training": {
            "model": "nmf",
            "device": "cpu",
            "seed": 0,
            "n_users": 3,
            "n_ratings": 10,
            "losses": [],
            "figures": {},
        },
        "evaluation": None,
        "audit": {
            "rows": 5,
            "users": 2,
            "users_without_list": 1,
            "source_users": {"model": 2},
            "min_score": 0.0,
            "max_score": 4.0,
        },
        "gate": {"checks": [], "forced": False, "compared_with": None},
        "stage_seconds": {"read": 1.0},
        "input_files": [{"path": "r.csv", "sha256": "0"}],
        "versions": {"python": "3"},
        **parts,
    }


def make_items(n_items: int = 4, **columns: Sequence[Any]) -> RunItems:
    ids = [*range(n_items)]
    table = pd.DataFrame(
        {
            "item_id": ids,
            "title": [f"title {item}" for item in ids],
            "genres": ["Drama|War" if item % 2 else "Drama" for item in ids],
            "cluster": [item % 2 for item in ids],
            "distance": 0.0,
            "rating_count": ids,
            "mean_rating": 3.0,
            **columns,
        }
    )
    embeddings = np.random.default_rng(0).normal(size=(n_items, 3)).astype(np.float32)
    return RunItems(table, embeddings)


def make_counts(**parts: Any) -> ListCounts:
    """User 10 has items 1, 2, 3 and user 9 has items 1, 2; user 10 has rated 0 and two unknown."""
    counts = ListCounts(
        items=pd.DataFrame(
            {"item_id": ["1", "2", "3", "77"], "lists": [2, 2, 1, 0], "lists_before": [0, 2, 3, 1]}
        ),
        places=pd.DataFrame(
            {
                "source": "model",
                "rank": [1, 1, 2, 3],
                "score_bin": [39, 20, 20, 0],
                "rows": [1, 1, 2, 1],
            }
        ),
        excluded=pd.DataFrame(
            {"kind": ["item"], "reason": ["few"], "entries": [1], "ratings": [2]}
        ),
        sample=pd.DataFrame(
            {
                "user_id": ["10", "10", "10", "9", "9"],
                "rank": [1, 2, 3, 1, 2],
                "item_id": ["1", "2", "3", "2", "1"],
                "source": "model",
            }
        ),
        recent=pd.DataFrame(
            {
                "user_id": "10",
                "place": [2, 1, 3],
                "item_id": ["0", "88", "99"],
                "title": ["title 0", "left out", None],
                "rating": [4.0, 10 / 3, 1.0],
                "timed": [True, True, False],
            }
        ),
        users=None,
    )
    return replace(counts, **parts)
