"""Whether there are packets of alerts."""

from __future__ import annotations

from astra.products.layout import alert_path
from astra.web.site import Site


def packet_is_there(site: Site, visit: int, detector: int) -> bool:
    """Say whether there is a file of alerts of a visit and detector."""
    return alert_path(site.root, visit, detector).is_file()
