"""Where the known bodies of the solar system are expected in a visit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def expected_bodies(
    instrument: str, visit: int, mjd_tai: float, ephemeris: str = "", orbits: str = ""
) -> NDArray[Any] | None:
    """Return where known bodies are seen in the middle of a visit; None if nothing is known of any.

    Parameters
    ----------
    instrument : str
        Camera name: orbits are seen from where it stands, or from the centre of the Earth.
    visit : int
        Visit id.
    mjd_tai : float
        Middle of the exposure [d, MJD TAI].
    ephemeris, orbits : str, optional
        Files; see `astra.products.bodies.read_bodies`. A body of both is taken from the ephemeris.

    Returns
    -------
    expected : structured ndarray, dtype `astra.sky.ephemerides.EXPECTED_DTYPE`, or None
    """
    import numpy as np

    from astra.instruments.registry import get_instrument
    from astra.products.bodies import read_bodies
    from astra.sky.ephemerides import EXPECTED_DTYPE, expected_from_orbits, expected_from_table

    if not (ephemeris or orbits):
        return None
    expected = np.zeros(0, EXPECTED_DTYPE)
    if ephemeris:
        expected = expected_from_table(read_bodies(ephemeris), visit, mjd_tai)
    if orbits:
        site = get_instrument(instrument).observatory
        others = expected_from_orbits(read_bodies(orbits), mjd_tai, site)
        expected = np.concatenate([expected, others[~np.isin(others["ssObjectId"], expected["ssObjectId"])]])
    return expected
