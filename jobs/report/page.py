"""The nightly report: one page that needs nothing else, made from ``ReportData``."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from pkgutil import get_data
from typing import Any

from jobs.process.terminal import printable
from jobs.report.chart_library import load_library, write_policy
from jobs.report.content import ReportData
from jobs.report.sentences import format_percent, write_sentences

logger = logging.getLogger(__name__)
REPORT = "report.html"
_MAX_REASON = 200
_RATED = {"time": "Recently rated", "rating": "Rated highest"}


def make_report(build: Callable[[], ReportData], keep: Callable[[bytes], None]) -> str:
    """Make a report and keep it; one that fails is told of, and holds nothing else back.

    The lists are what readers wait for: a page about them must not cost a night.

    Returns:
        For the manifest: the report's name, or ``failed: `` and why.
    """
    try:
        keep(render_report(build()))
    except Exception as error:
        # Where, not what, in the log: the message of such an error may quote ratings.
        place = traceback.extract_tb(error.__traceback__)[-1]
        logger.warning(
            "no %s: %s in %s:%d; the run is published without it, and its manifest says more",
            *(REPORT, type(error).__name__, Path(place.filename).name, place.lineno),
        )
        reason = printable(str(error).partition("\n")[0])[:_MAX_REASON]
        return f"failed: {type(error).__name__}: {reason}"
    return REPORT


def render_report(data: ReportData) -> bytes:
    """The page. Titles and ids are untrusted, and stay text wherever they stand in it."""
    # Not at the top: where one of these is missing or broken, the night goes on without a page.
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from jobs.report.charts.draw import draw_charts
    from jobs.report.charts.run_charts import list_series

    templates = Environment(
        loader=FunctionLoader(_read_template), autoescape=True, undefined=StrictUndefined
    )
    templates.filters |= _FILTERS
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    script, library = _read_template("report.js"), load_library()
    page = templates.get_template("report.html.jinja").render(
        data=data,
        manifest=data.manifest,
        charts=draw_charts(data),
        series=list_series(data.history),
        sample={
            "users": [
                [user.user, user.source, user.items, *map(list, zip(*user.rated, strict=True))]
                for user in data.sampled_users
            ],
            "titles": data.sampled_items,
            "rated": data.rated_by and _RATED[data.rated_by],
        },
        style=Markup(_read_template("report.css")),
        library=Markup(library),
        script=Markup(script),
        policy=write_policy(library, script),
        **write_sentences(data),
    )
    return page.encode("utf-8", "replace")


def _read_template(name: str) -> str:
    """A file beside this one, which may be in a zip."""
    data = get_data(__name__, f"templates/{name}")
    if data is None:
        raise FileNotFoundError(f"templates/{name}")
    return data.decode()


def _format_figure(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


_FILTERS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "figure": _format_figure,
    "percent": format_percent,
    "users": lambda value: "1 user" if value == 1 else f"{value:,} users",
    "whole_percent": lambda value: f"{100 * value:.0f}%",
    "signed": lambda value: f"{value:+,}",
}
