"""The zero of the velocities of a star, whose visits have been measured against each other alone."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astra.errors import NotConvergedError
from astra.tasks.spectra.analysis import file_state
from astra.tasks.spectra.velocities import RadialVelocity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum
    from astra.spectra.coadd import Coadd, Visit


def with_zero_of(
    templates: str, visits: list[Visit], v_rel: NDArray[np.float64], name: str
) -> NDArray[np.float64]:
    """Return velocities of visits relative to the observer, of a star whose sum is at rest.

    Parameters
    ----------
    templates : str
        File of the templates at rest.
    visits : list of Visit
        In the observed frame.
    v_rel : float64 ndarray, shape (n_visits,)
        Velocities of which the differences are known [km/s]; NaN for those that have none.
    name : str
        Of the star, for the message.

    Raises
    ------
    NotConvergedError
        If the sum of the visits has no velocity against the templates.
    """
    import numpy as np

    from astra.spectra.coadd import combine, rest_visit
    from astra.spectra.velocities import compose

    known = np.flatnonzero(np.isfinite(v_rel))
    if not len(known):
        return v_rel
    total = combine([rest_visit(visits[number], float(v_rel[number])) for number in known])
    return np.asarray(compose(v_rel, velocity_of(templates, _as_spectrum(total), name)), np.float64)


def velocity_of(templates: str, spectrum: Spectrum, name: str) -> float:
    """Return the velocity of a spectrum of one row against templates, in its own frame [km/s].

    A star of one visit needs no more.

    Raises
    ------
    NotConvergedError
        If there is none.
    """
    task, prepared = _prepared(templates, file_state(templates))
    [[row]] = task.analyse([spectrum], prepared)
    if row["v_rel"] is None:
        message = f"the sum of the visits of {name} has no velocity against the templates in {templates}"
        raise NotConvergedError(message, obj=name, templates=templates)
    return float(row["v_rel"])


@functools.lru_cache(maxsize=2)
def _prepared(templates: str, _state: tuple[int, int] | None) -> tuple[RadialVelocity, Any]:
    """Arrange templates once for all stars; a changed file is read again."""
    task = RadialVelocity(product="apStar", path="", templates=templates)
    return task, task.prepare()


def _as_spectrum(total: Coadd) -> Spectrum:
    """Return a sum as a spectrum in memory."""
    import numpy as np

    from astra.products.apogee import BAD_PIXEL_BITS, star_chips
    from astra.products.spectrum import Spectrum, pixel_values
    from astra.spectra.grid import APSTAR_GRID

    names = ("snr", "bc", "v_rel", "v_rad", "jd_mid", "exptime")
    unknown: dict[str, Any] = dict.fromkeys(names, np.full(1, np.nan))
    wavelength = APSTAR_GRID.wavelength
    planes = (total.flux[None], total.ivar[None], np.isfinite(total.flux)[None], total.pixel_flags[None])
    return Spectrum(
        product="apStar",
        path=Path(),
        wavelength=wavelength,
        chip=star_chips(wavelength),
        kind=("coadd",),
        frame="rest",
        sources=("",),
        meta={},
        **unknown,
        **pixel_values(*planes, BAD_PIXEL_BITS),
    )
