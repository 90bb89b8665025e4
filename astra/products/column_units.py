"""Units of catalogue columns, by the rules of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The first pattern that matches the whole name decides.
RULES = (
    (r"(ra|dec|trailRa|trailDec|trailAngle|dipoleAngle)(Err)?", "deg"),
    (r"ra_dec_Cov", "deg**2"),
    (r"(x|y|bboxSize)(Err)?", "pixel"),
    (r".*InstFlux(_[0-9_p]+)?(Err)?", "adu"),
    (r".*Flux(Diff)?(_[0-9_p]+)?(Err)?", "nJy"),
    (r"(trail|dipole)Length(Err)?", "arcsec"),
    (r".*MjdTai", "d"),
    (r"exposureTime", "s"),
    (r".*_arcsec", "arcsec"),
    (r"mag_residual", "mag"),
    (r"footprintArea", "pixel"),
)


SHAPES = r"i(xx|yy|xy)(PSF)?"


def column_units(names: Iterable[str], *, shapes: str = "pixel**2") -> dict[str, str]:
    """Return the unit of each column that has one, among names spelled as in the Rubin data products.

    Parameters
    ----------
    names : iterable of str
        Columns.
    shapes : str, optional
        Unit of second moments: those of sources on an image are in pixels, those of diaSources in arcseconds.
    """
    units = {}
    for name in names:
        for pattern, unit in (*RULES, (SHAPES, shapes)):
            if re.fullmatch(pattern, name):
                units[name] = unit
                break
    return units
