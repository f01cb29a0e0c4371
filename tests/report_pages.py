"""Pages of the report to look at: what is in one, and runs whose titles mean harm."""

from dataclasses import replace
from html.parser import HTMLParser

from jobs.report.content import ReportData

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
