"""What is behind the pages: versions, the database, the disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Mapping
from typing import Any

from astra.alerts.schemas import LATEST_VERSION
from astra.database.models.apdb import SCHEMA_VERSION
from astra.database.revision import head_revision
from astra.web.filters import Query
from astra.web.site import Answer, Site

PACKAGES = ("astra-pipeline", "luigi", "tornado", "jinja2", "sqlalchemy", "numpy", "scipy", "astropy",
            "numba", "sep", "fastavro")  # fmt: skip
EXTRAS = {"postgres": "psycopg", "kafka": "confluent_kafka", "parquet": "pyarrow", "train": "sklearn",
          "sdss": "tree", "specutils": "specutils"}  # fmt: skip


def about_page(site: Site, _query: Query, _keys: Mapping[str, str]) -> Answer:
    """Make the page."""
    versions = [("Python", platform.python_version()), *((name, _version(name)) for name in PACKAGES)]
    with site.database.reading() as connection:
        dialect = connection.dialect.name
    usage = shutil.disk_usage(site.root)
    facts: list[tuple[str, Any]] = [
        ("database", site.database.name),
        ("kind of database", dialect),
        ("revision", head_revision()),
        ("APDB schema", SCHEMA_VERSION),
        ("alert schema", LATEST_VERSION),
        ("folder of products", str(site.root)),
    ]
    extras = [(name, importlib.util.find_spec(module) is not None) for name, module in EXTRAS.items()]
    rows = [{"name": name, "value": value} for name, value in [*versions, *facts]]
    values = {
        "versions": versions,
        "facts": facts,
        "extras": extras,
        "free": usage.free,
        "total": usage.total,
        "scheduler": site.scheduler_url if site.scheduler_url.startswith(("http://", "https://")) else "",
    }
    data = {
        "versions": dict(versions),
        "facts": dict(facts),
        "extras": dict(extras),
        "free_bytes": usage.free,
    }
    return Answer("about.html", "about", values, data, rows, ("name", "value"))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
