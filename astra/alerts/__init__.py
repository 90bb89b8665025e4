"""Alert packets: schema, cutouts, wire format and sinks; no database, no engine.

The names below are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astra.alerts.cutouts import make_cutout, make_cutout_bytes
    from astra.alerts.encoder import AlertBatch, encode_alerts
    from astra.alerts.files import read_alerts, write_alerts
    from astra.alerts.json_text import to_json
    from astra.alerts.packets import Alert, Cutouts, make_alert, make_alert_dict, validate_alert
    from astra.alerts.schemas import LATEST_VERSION, available_versions, load_schema, schema_id
    from astra.alerts.wire import decode, encode

_HOMES = {
    "cutouts": ("make_cutout", "make_cutout_bytes"),
    "encoder": ("AlertBatch", "encode_alerts"),
    "files": ("read_alerts", "write_alerts"),
    "json_text": ("to_json",),
    "packets": ("Alert", "Cutouts", "make_alert", "make_alert_dict", "validate_alert"),
    "schemas": ("LATEST_VERSION", "available_versions", "load_schema", "schema_id"),
    "wire": ("decode", "encode"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "LATEST_VERSION",
    "Alert",
    "AlertBatch",
    "Cutouts",
    "available_versions",
    "decode",
    "encode",
    "encode_alerts",
    "load_schema",
    "make_alert",
    "make_alert_dict",
    "make_cutout",
    "make_cutout_bytes",
    "read_alerts",
    "schema_id",
    "to_json",
    "validate_alert",
    "write_alerts",
]


def __getattr__(name: str) -> Any:
    """Load one of the public names."""
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
