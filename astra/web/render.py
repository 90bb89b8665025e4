"""From values to HTML: one environment of templates, in which everything is escaped.

No template says ``|safe``: what is markup is made by `astra.web.svg`, which escapes what it is given, or by a
macro. Names of parameters, headers, tracebacks and objects come from anywhere.
"""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from astra.web import formats
from astra.web.links import Links

# For a page that is opened as a file: no script, nothing from elsewhere. A server sends its own as a header.
FILE_POLICY = (
    "default-src 'none'; img-src 'self' file: data:; style-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
# What the head of each page leads to: (kind of page, text), in order; left out where there is no such page.
NAVIGATION = (
    ("nights", "Nights"),
    ("night", "Night"),
    ("tasks", "Tasks"),
    ("alerts", "Alerts"),
    ("efficiency", "Efficiency"),
    ("spectra", "Spectra"),
    ("about", "About"),
)


@functools.cache
def environment() -> Environment:
    """Return the environment of the templates of this package."""
    made = Environment(
        loader=PackageLoader("astra.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(formats.FILTERS)
    made.globals["LIGHT_SHAPES"] = formats.LIGHT_SHAPES
    return made


def render(template: str, links: Links, *, page: str, scope: dict[str, Any], **values: Any) -> str:
    """Render a page.

    Parameters
    ----------
    template : str
        Name of the template, as ``night.html``.
    links : Links
        Makes the addresses.
    page : str
        Kind of page, one of `astra.web.links.PAGES`: it is marked in the head.
    scope : dict
        What the links of the head are about: ``instrument`` and ``night`` where the page is of a night.
    **values
        What the template shows.
    """
    return (
        environment()
        .get_template(template)
        .render(
            links=links,
            page=page,
            navigation=_navigation(links, page, scope),
            **{"policy": None, "live": False, "forms": None, **values},
        )
    )


def _navigation(links: Links, page: str, scope: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Address and text of each page of the head, and whether it is this one."""
    found = [(links.to(kind, **scope), text, kind == page) for kind, text in NAVIGATION]
    return [(address, text, here) for address, text, here in found if address is not None]
