"""Barycentric corrections and velocities of spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import FormatError
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import BlockTask, Row, rows_of, usable_ivar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum
    from astra.spectra.templates import TemplateSet


class BarycentricCorrection(BlockTask):
    """Compute the barycentric correction of every spectrum in a file, from place, time and target.

    Writes a row per spectrum into the table ``barycentric_correction``. It downloads nothing.
    """

    table = "barycentric_correction"
    block_files = 200

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Correct all observations of a telescope at once."""
        import numpy as np

        from astra.spectra.flags import SpectrumFlag

        rows = []
        for spectrum, bc in zip(spectra, corrections(spectra), strict=True):
            ra, dec = target_of(spectrum)
            columns = {
                "bc": bc,
                "header_bc": spectrum.bc,
                "jd_mid": spectrum.jd_mid,
                "ra": np.full(len(bc), ra),
                "dec": np.full(len(bc), dec),
                "flags": np.where(np.isfinite(bc), 0, int(SpectrumFlag.MISSING_HEADER)),
            }
            rows.append(rows_of(spectrum, columns))
        return rows


class RadialVelocity(BlockTask):
    """Measure the velocity of every spectrum in a file by correlation with templates.

    Writes a row per spectrum into the table ``radial_velocity``. The velocities in the headers of visits,
    which are wrong for many, are not used.
    """

    table = "radial_velocity"

    templates = PathParameter(
        description="Templates at rest: an archive of astra (npz: wavelength [Angstrom], flux, names), "
        "or an apStar file, whose sum is taken.",
    )
    max_velocity_kms = luigi.FloatParameter(default=800.0, description="Largest velocity searched [km/s].")

    def prepare(self) -> Any:
        """Read the templates once; they are arranged once for each grid."""
        return _Templates(self.templates, self.max_velocity_kms)

    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Measure all spectra of one grid at once."""
        import numpy as np

        from astra.spectra.deposit import Deposit
        from astra.spectra.radial_velocity import measure_velocities, prepare_spectra
        from astra.spectra.velocities import compose

        found: dict[int, list[Row]] = {}
        by_grid: dict[Any, list[int]] = {}
        for number, spectrum in enumerate(spectra):
            by_grid.setdefault(grid_of(spectrum), []).append(number)
        known = corrections(spectra)
        for grid, numbers in by_grid.items():
            templates, config = prepared.on(grid)
            deposits = [
                prepare_spectra(grid, s.wavelength, s.flux, s.ivar, void_of(s), config=config)
                for s in (spectra[number] for number in numbers)
            ]
            velocities = measure_velocities(Deposit.stack(deposits), templates, config)
            first = 0
            for number in numbers:
                spectrum = spectra[number]
                some = slice(first, first + spectrum.n_rows)
                first = some.stop
                columns = {name: values[some] for name, values in vars(velocities).items()}
                names = [templates.names[k] if k >= 0 else None for k in columns.pop("template")]
                bc = np.where(np.isfinite(known[number]), known[number], spectrum.bc)
                v_rad = compose(columns["v_rel"], bc if spectrum.frame == "observed" else 0.0)
                rows = rows_of(spectrum, {**columns, "bc": bc, "v_rad": v_rad})
                found[number] = [{**row, "template": name} for row, name in zip(rows, names, strict=True)]
        return [found[number] for number in range(len(spectra))]


class _Templates:
    """Template spectra, arranged for the grids that turn up."""

    def __init__(self, path: str, max_velocity_kms: float) -> None:
        from astra.products.spectra import read_ap_star
        from astra.products.spectral_models import read_template_spectra

        self.max_velocity_kms = max_velocity_kms
        self.ivar = None
        if path.endswith(".npz"):
            self.wavelength, self.flux, self.names = read_template_spectra(path)
        else:
            star = read_ap_star(path)
            self.wavelength, self.flux, self.names = star.wavelength, star.flux[:1], (star.path.name,)
            self.ivar = usable_ivar(star)[:1]
        self._arranged: dict[Any, Any] = {}

    def on(self, grid: Any) -> tuple[TemplateSet, Any]:
        """Return templates and configuration for a grid."""
        from astra.spectra.radial_velocity import VelocityConfig
        from astra.spectra.templates import make_templates

        if grid not in self._arranged:
            config = VelocityConfig(continuum=continuum_of(grid))
            templates = make_templates(
                grid,
                self.wavelength,
                self.flux,
                self.ivar,
                names=self.names,
                continuum=config.continuum,
                max_velocity_kms=self.max_velocity_kms,
            )
            self._arranged[grid] = templates, config
        return self._arranged[grid]  # type: ignore[no-any-return]


def grid_of(spectrum: Spectrum) -> Any:
    """Return the grid on which the velocity, or the redshift, of a spectrum is measured.

    Raises
    ------
    FormatError
        If the wavelengths of a BOSS spectrum are not uniform in the logarithm.
    """
    from astra.spectra.grid import APSTAR_GRID, LogGrid, log_grid_of

    if spectrum.product != "spec":
        return APSTAR_GRID
    found = log_grid_of(spectrum.wavelength)
    if found is None:
        message = f"{spectrum.path} must have wavelengths that are uniform in the logarithm"
        raise FormatError(message, path=str(spectrum.path))
    return LogGrid(round(found.start, 4), 1e-4, found.n_pixels)


def continuum_of(grid: Any) -> Any:
    """Return how the continuum on a grid is fitted: by chip, or over the whole of a BOSS spectrum."""
    from astra.spectra.continuum import ContinuumConfig
    from astra.spectra.grid import APSTAR_GRID

    if grid == APSTAR_GRID:
        return ContinuumConfig(n_clips=2)
    ends = grid.wavelength[[0, -1]]
    return ContinuumConfig("chebyshev", order=12, regions=((float(ends[0]), float(ends[1])),), n_clips=3)


def void_of(spectrum: Spectrum) -> NDArray[np.bool_]:
    """Return the pixels not to be used for velocities: bad ones, and sky lines and the ghost of APOGEE."""
    from astra.spectra.masks import APOGEE_BAD_FOR_VELOCITY

    if spectrum.product == "spec":
        return spectrum.bad
    flagged: NDArray[np.bool_] = (spectrum.pixel_flags & int(APOGEE_BAD_FOR_VELOCITY)) != 0
    return flagged | spectrum.bad


def corrections(spectra: Sequence[Spectrum]) -> list[NDArray[np.float64]]:
    """Return the barycentric corrections of the rows of each file [km/s], NaN where something is missing."""
    import numpy as np

    from astra.spectra.barycentric import barycentric_correction, site_of

    result = [np.full(spectrum.n_rows, np.nan) for spectrum in spectra]
    by_site: dict[Any, list[int]] = {}
    for number, spectrum in enumerate(spectra):
        site = site_of(str(spectrum.meta.get("TELESCOP") or "apo25m"))
        if site is not None:
            by_site.setdefault(site, []).append(number)
    for site, numbers in by_site.items():
        sizes = [spectra[number].n_rows for number in numbers]
        targets = np.array([target_of(spectra[number]) for number in numbers])
        ra, dec = np.repeat(targets, sizes, axis=0).T
        jd = np.concatenate([spectra[number].jd_mid for number in numbers])
        parts = np.split(barycentric_correction(ra, dec, jd, site), np.cumsum(sizes)[:-1])
        for number, part in zip(numbers, parts, strict=True):
            result[number] = part
    return result


def target_of(spectrum: Spectrum) -> tuple[float, float]:
    """Return right ascension and declination of the target [deg]; NaN if the file does not say."""
    from astra.products.survey_fits import number_of

    if spectrum.product == "spec":
        ra, dec = ("RACAT", "PLUG_RA"), ("DECCAT", "PLUG_DEC")
        return number_of(spectrum.catalogue, *ra), number_of(spectrum.catalogue, *dec)
    return number_of(spectrum.meta, "RA"), number_of(spectrum.meta, "DEC")
