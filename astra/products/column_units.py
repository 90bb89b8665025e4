"""Units of catalogue columns, by the rules of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first pattern that matches the whole name decides.
RULES = (
    (r"(ra|dec)(Err)?", "deg"),
    (r"ra_dec_Cov", "deg**2"),
    (r"(x|y|bboxSize)(Err)?", "pixel"),
    (r".*InstFlux(_[0-9_p]+)?(Err)?", "adu"),
    (r".*Flux(_[0-9_p]+)?(Err)?", "nJy"),
    (r"i(xx|yy|xy)(PSF)?", "pixel**2"),
    (r".*MjdTai", "d"),
    (r"exposureTime", "s"),
    (r".*_arcsec", "arcsec"),
    (r"mag_residual", "mag"),
    (r"footprintArea", "pixel"),
)


def column_units(names: Iterable[str]) -> dict[str, str]:
    """Return the unit of each column that has one, among names spelled as in the Rubin data products."""
    units = {}
    for name in names:
        for pattern, unit in RULES:
            if re.fullmatch(pattern, name):
                units[name] = unit
                break
    return units
