"""Barycentric corrections and velocities of spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import FormatError
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import (
    BlockTask,
    Row,
    flags_text,
    number_text,
    rows_of,
    title_of,
    usable_ivar,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum
    from astra.products.star_pictures import PeakPicture
    from astra.spectra.templates import TemplateSet


_SPIKE_SIGMA, _WIDEN_PIXEL = 5.0, 2  # as of the spectra that are measured


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

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure | None:
        """Draw the correction over the year around the observations; none without place and time."""
        import numpy as np

        from astra.products.spectrum_pictures import draw_correction
        from astra.spectra.barycentric import barycentric_correction, site_of

        site = site_of(str(spectrum.meta.get("TELESCOP") or "apo25m"))
        bc, jd, header = (
            np.array([np.nan if row[name] is None else row[name] for row in rows])
            for name in ("bc", "jd_mid", "header_bc")
        )
        if site is None or not np.isfinite(bc).any():
            return None
        ra, dec = target_of(spectrum)
        days = np.linspace(-60.0, max(360.0, np.nanmax(jd) - np.nanmin(jd) + 60.0), 421)
        year = barycentric_correction(
            np.full(days.size, ra), np.full(days.size, dec), np.nanmin(jd) + days, site
        )
        first = f"first observation JD {np.nanmin(jd):.5f} UTC"
        return draw_correction(
            days,
            year,
            jd - np.nanmin(jd),
            header=header,
            corrections=bc,
            title=spectrum.path.name,
            subtitle=f"ra {ra:.5f}, dec {dec:+.5f} deg; {first}; {bc[np.isfinite(bc)][0]:.4f} km/s",
        )


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

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure | None:
        """Draw the peak of the first spectrum that has one."""
        from astra.products.star_pictures import draw_velocity

        index = next((k for k, row in enumerate(rows) if row["v_rel"] is not None), None)
        if index is None:
            return None
        row = rows[index]
        said = (
            f"barycentric {number_text(row['v_rad'], 3)} km/s;  peak S/N {number_text(row['peak_snr'], 1)}, "
        )
        said += f"chi2/dof {number_text(row['chi2_dof'])};  template {row['template']}{flags_text(row)}"
        peak = peak_of(spectrum, index, row, *prepared.on(grid_of(spectrum)))
        return draw_velocity(peak, title=title_of(spectrum, index), subtitle=said)


def peak_of(spectrum: Spectrum, index: int, row: Row, templates: TemplateSet, config: Any) -> PeakPicture:
    """Return what the picture of the velocity of one spectrum shows."""
    import numpy as np

    from astra.products.star_pictures import PeakPicture
    from astra.spectra.peaks import shifted_templates
    from astra.spectra.radial_velocity import correlate, prepare_spectra

    own, grid = slice(index, index + 1), templates.grid
    planes = (spectrum.flux[own], spectrum.ivar[own], void_of(spectrum)[own])
    prepared = prepare_spectra(grid, spectrum.wavelength, *planes, config=config)
    found = correlate(prepared, templates)
    best = templates.names.index(row["template"])
    shift = np.array([float(grid.shift_of(row["v_rel"]))])
    model = 1.0 + row["amplitude"] * shifted_templates(templates.residual, np.array([best]), shift)[0]
    known = prepared.weight[0] > 0.05 * np.max(prepared.weight[0])
    data = np.where(known, 1.0 + prepared.data[0] / np.where(known, prepared.weight[0], 1.0), np.nan)
    regions = config.continuum.regions
    parts = [slice(*np.searchsorted(grid.wavelength, region)) for region in regions]
    return PeakPicture(
        velocity=found.velocity,
        gain=found.gain[0],
        template=best,
        v_rel=row["v_rel"],
        v_rel_err=row["v_rel_err"] or 0.0,
        wavelength=grid.wavelength,
        data=data,
        model=model,
        parts=parts,
    )


class _Templates:
    """Template spectra, arranged for the grids that turn up; without sky lines and spikes of sums."""

    def __init__(self, path: str, max_velocity_kms: float) -> None:
        import numpy as np

        from astra.products.spectra import read_ap_star
        from astra.products.spectral_models import read_template_spectra
        from astra.spectra.masks import spikes, widened

        self.max_velocity_kms = max_velocity_kms
        self.ivar = None
        if path.endswith(".npz"):
            self.wavelength, self.flux, self.names = read_template_spectra(path)
        else:
            star = read_ap_star(path)
            self.wavelength, self.flux, self.names = star.wavelength, star.flux[:1], (star.path.name,)
            void = void_of(star)[:1] | spikes(star.flux[:1], usable_ivar(star)[:1], _SPIKE_SIGMA)
            self.ivar = np.where(widened(void, _WIDEN_PIXEL), 0.0, star.ivar[:1])
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
    from astra.spectra.masks import APOGEE_BAD, APOGEE_BAD_FOR_VELOCITY

    if spectrum.product == "spec":
        return spectrum.bad
    at_rest_with_the_sky = int(APOGEE_BAD_FOR_VELOCITY & ~APOGEE_BAD)
    flagged: NDArray[np.bool_] = (spectrum.pixel_flags & at_rest_with_the_sky) != 0
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
