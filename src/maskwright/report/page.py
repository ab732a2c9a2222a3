"""From numbers to one HTML file: templates in which all text is escaped, and a policy that forbids the page the net."""

from __future__ import annotations

import base64
import hashlib
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright import __version__
from maskwright.errors import MissingDependency
from maskwright.files import claim_folder, replace_file

if TYPE_CHECKING:
    from jinja2 import Environment


def write_page(path: Path, template: str, **content: Any) -> None:
    """Fill a template of `templates/` and write it; the file is the old one or the new one, never half.

    The page may load nothing and run our own script only, which it knows by its hash: what a file name or a class name
    may smuggle in stays text, or at the worst does nothing.

    Raises:
        OutputError: the file cannot be written.
        MissingDependency: Jinja2 is not installed.
    """
    environment = page_templates()
    from markupsafe import Markup

    style, script = (environment.get_template(name).render() for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=f"sha256-{digest}",
        version=__version__,
        **content,
    )
    claim_folder(path.parent)
    replace_file(path, page)


def page_templates() -> Environment:
    """Our templates, ready to be filled.

    Raises:
        MissingDependency: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise MissingDependency("jinja2", "report", "an HTML page") from error

    environment = Environment(
        loader=PackageLoader("maskwright.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": share, "count": count, "percent": percent}
    return environment


def share(value: float) -> str:
    """A fraction of one as the field writes it; a dash where there is none.

    >>> share(0.55554), share(float("nan")), share(101)
    ('0.556', '–', '101')
    """
    if isinstance(value, int):
        return count(value)
    return "–" if isnan(value) else f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def count(value: int) -> str:
    r"""A number of things, thousands apart by a narrow space.

    >>> count(4689)
    '4\u202f689'
    """
    return f"{value:,}".replace(",", "\u202f")


def percent(value: float) -> str:
    """A fraction of one in percent, for sentences.

    >>> percent(0.8323)
    '83 %'
    """
    return "–" if isnan(value) else f"{100 * value:.0f} %"
