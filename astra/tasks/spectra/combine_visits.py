"""The sum of the visits of a star."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

from astra.errors import DataError, MissingDataError
from astra.tasks.base import AstraTask
from astra.tasks.io.by_path import absolute_path
from astra.tasks.parameters import PathParameter
from astra.tasks.spectra.analysis import picture_rows, plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum
    from astra.products.star_files import VisitRow
    from astra.spectra.coadd import Coadd

MIN_SNR = 3.0  # of a visit in a sum, as in the survey


class CombineVisits(AstraTask):
    """Bring the visits (apVisit) of a star to rest, and sum them.

    Velocities are those of the header of an apStar file, if one is named, else those of the visits against
    each other, whose mean is 0 unless templates tell what it is; the headers of visits, which are wrong for
    many, are not used. Writes a FITS file like the
    survey's apStar, and into the table ``combined_visit`` a row for each of its rows.
    """

    obj = luigi.Parameter(batch_method=tuple, description="Name of the star.")
    visits = luigi.Parameter(
        batch_method=tuple,
        description="Its apVisit files, separated by colons; below the SDSS tree or absolute.",
    )
    velocities_of = PathParameter(
        default="",
        batch_method=tuple,
        description="apStar file whose velocities are taken, by the names of visits; empty to measure them.",
    )
    templates = PathParameter(
        default="",
        description="Templates at rest (npz, or an apStar file) that fix the zero of measured velocities; "
        "empty: the mean barycentric velocity is 0.",
    )

    bad_pixels = luigi.Parameter(
        default="default",
        description="Bits of APOGEE_PIXMASK that make a pixel bad, by name, separated by commas; 'default' "
        "for the reader's, 'none' for none.",
    )
    refused_flags = luigi.Parameter(
        default="BAD_PIXELS,VERY_BRIGHT_NEIGHBOR,BAD_RV_COMBINATION,RV_REJECT,RV_FAIL",
        description="Bits of APOGEE_STARFLAG, by name, separated by commas: visits with one are left out.",
    )
    pictures = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Whether to draw a picture of each star of a batch; a single task always draws its own.",
    )
    has_picture = False

    @property
    def picture_path(self) -> Path:
        """Path of the picture of a single task."""
        return self.product_path.with_suffix(".png")

    def product_rows(self) -> list[dict[str, Any]]:
        """Return a row for each file that was made, the picture included."""
        return super().product_rows() + (picture_rows(self.picture_path) if self.has_picture else [])

    @property
    def product_path(self) -> Path:
        """Path of the sum of a single task."""
        name = "".join(letter if letter.isalnum() or letter in "+-._" else "_" for letter in self.obj)
        return (
            self.output_base_dir / self.task_id[-2:] / f"apStar-{name}-{self.task_id.rsplit('_', 1)[-1]}.fits"
        )

    def output(self) -> Any:
        """Return the sum."""
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return luigi.LocalTarget(str(self.product_path))

    def input_files(self) -> list[str]:
        """Return the visits of a single star."""
        if self.is_batch_mode:
            return []
        others = list(filter(None, [self.velocities_of, self.templates]))
        return [*visit_paths(self.visits), *others]

    def run(self) -> None:
        """Sum each star."""
        from astra.errors import AstraError

        for task in self.pending_tasks():
            with task.recording():
                try:
                    rows, combined = task.combine()
                except (AstraError, ValueError) as exc:
                    task.write_rows([failed_row(exc)])
                    raise
                task.write_star(rows, combined)
                task.write_rows(table_rows(rows, combined, len(visit_paths(task.visits))))
                if self.pictures or not self.is_batch_mode:
                    task.draw_star(rows, combined)

    def combine(self) -> tuple[list[VisitRow], list[Coadd]]:
        """Read the visits of a single star, find their velocities, and sum them.

        Raises
        ------
        MissingDataError
            If no visit can be summed.
        """
        from astra.products.spectra import read_ap_visit
        from astra.products.spectrum_selection import refused_rows, selected
        from astra.spectra.coadd import combine

        spectra = []
        for path in visit_paths(self.visits):
            spectrum = selected(read_ap_visit(path), self.bad_pixels, self.refused_flags)
            if not refused_rows(spectrum, self.refused_flags)[0]:
                spectra.append(spectrum)
        rows = visit_rows(spectra, self.velocities_of, self.templates, self.obj, self.bad_pixels)
        if not rows:
            message = f"no visit of {self.obj} has a velocity and a signal-to-noise ratio above {MIN_SNR:g}"
            raise MissingDataError(message, obj=self.obj)
        at_rest = [row.spectrum for row in rows]
        return rows, [combine(at_rest), combine(at_rest, smooth_weights=True)]

    def write_star(self, rows: list[VisitRow], combined: list[Coadd]) -> None:
        """Write the star of a single task."""
        from astra.products.star_files import CombinedStar, write_ap_star

        star = CombinedStar(self.obj, combined, rows, float(snr_of(combined[0])))
        cards = {"SOFTWARE": "astra", "VSOURCE": os.path.basename(self.velocities_of) or "visits"}
        write_ap_star(star, self.product_path, cards=cards)

    def draw_star(self, rows: list[VisitRow], combined: list[Coadd]) -> None:
        """Draw the star of a single task."""
        import numpy as np

        from astra.products.spectrum_pictures import write_picture
        from astra.products.star_pictures import CoaddPicture, draw_coadd
        from astra.spectra.grid import APSTAR_GRID, aspcap_chips

        jd, v_rad, error, snr = (
            np.array([getattr(row, name) for row in rows]) for name in ("jd_mid", "v_rad", "v_rel_err", "snr")
        )
        picture = CoaddPicture(
            wavelength=APSTAR_GRID.wavelength,
            flux=combined[0].flux,
            ivar=combined[0].ivar,
            visits=np.stack([np.where(row.spectrum.good, row.spectrum.flux, np.nan) for row in rows]),
            continua=np.stack([row.spectrum.continuum for row in rows]),
            names=[row.source for row in rows],
            days=jd - np.nanmin(jd) if np.isfinite(jd).any() else np.arange(float(len(rows))),
            v_rad=v_rad,
            v_rad_err=np.where(np.isfinite(error), error, 0.0),
            snr=snr,
        )
        source = os.path.basename(self.velocities_of) or "the visits against each other"
        said = f"{len(rows)} visits, S/N {float(snr_of(combined[0])):.1f}; velocities of {source}"
        figure = draw_coadd(picture, aspcap_chips(), title=self.obj, subtitle=said)
        write_picture(self.picture_path, figure)
        self.has_picture = True

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Write the rows of a single task."""
        from astra.database.engine import transaction
        from astra.database.spectra import spectrum_table, write_spectrum_rows

        table = spectrum_table("combined_visit")
        empty = {column.name: None for column in table.columns if column.nullable}
        names = {"product": "apStar", "path": str(self.product_path)}
        with transaction(self.database_url) as connection:
            write_spectrum_rows(
                connection, table, {self.task_id: [{**empty, **names, **row} for row in rows]}
            )


def visit_paths(visits: str) -> list[str]:
    """Return the files of a list that is separated by colons."""
    return [absolute_path(path) for path in visits.split(os.pathsep) if path]


def visit_rows(
    spectra: list[Spectrum],
    velocities_of: str,
    templates: str = "",
    name: str = "",
    bad_pixels: str = "default",
) -> list[VisitRow]:
    """Return the visits that can be summed, at rest, with the pixels bad that `selected` has called so.

    Raises
    ------
    DataError
        If none of the visits stands in the apStar file whose velocities are asked for.
    """
    import numpy as np

    from astra.products.star_files import VisitRow
    from astra.products.survey_fits import number_of
    from astra.spectra.coadd import Visit, rest_visit
    from astra.spectra.velocities import compose
    from astra.tasks.spectra.star_zero import velocity_of, with_zero_of
    from astra.tasks.spectra.velocities import corrections

    bc = np.concatenate([values[:1] for values in corrections(spectra)]) if spectra else np.empty(0)
    snr = np.array([visit_snr(spectrum) for spectrum in spectra])
    usable = np.isfinite(bc) & (snr > MIN_SNR)
    spectra = [spectrum for spectrum, use in zip(spectra, usable, strict=True) if use]
    bc, snr = bc[usable], snr[usable]
    bits = bad_bits(bad_pixels)
    visits = [Visit(s.wavelength, s.chip, s.flux[0], s.ivar[0], s.pixel_flags[0], bits) for s in spectra]
    if templates and not velocities_of and len(spectra) == 1:
        v_rel, error = np.array([velocity_of(templates, spectra[0], name)]), np.array([np.nan])
    else:
        v_rel, error = velocities(spectra, visits, bc, velocities_of)
        if templates and not velocities_of:
            v_rel = with_zero_of(templates, visits, v_rel, name)
    rows = []
    for spectrum, visit, own_bc, v, v_err, own_snr in zip(
        spectra, visits, bc, v_rel, error, snr, strict=True
    ):
        if np.isfinite(v):
            fiber = number_of(spectrum.meta, "FIBERID")
            numbers = (float(own_bc), float(v), float(compose(v, own_bc)), float(own_snr), float(v_err))
            place = (spectrum.path.name, float(spectrum.jd_mid[0]), int(fiber) if np.isfinite(fiber) else -1)
            rows.append(VisitRow(rest_visit(visit, float(v)), *place, *numbers))
    return rows


def bad_bits(bad_pixels: str) -> int:
    """Return the bits of APOGEE_PIXMASK that names stand for."""
    from astra.products.spectrum_selection import NO_BITS, READERS_OWN, named_bits
    from astra.spectra.masks import APOGEE_BAD, ApogeePixel, SpecPixel

    name = bad_pixels.strip().lower()
    if name in (READERS_OWN, NO_BITS):
        return int(APOGEE_BAD) if name == READERS_OWN else 0
    return named_bits(bad_pixels, ApogeePixel, SpecPixel)[0]


def velocities(
    spectra: list[Spectrum], visits: list[Any], bc: NDArray[np.float64], velocities_of: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the velocities of visits relative to the observer, and their errors [km/s]; NaN for none."""
    import numpy as np

    from astra.products.spectra import read_ap_star
    from astra.spectra.star_velocities import measure_star

    if not visits:
        return np.empty(0), np.empty(0)
    if not velocities_of:
        found = measure_star(visits, bc)
        return found.v_rel, found.v_rel_err
    star = read_ap_star(velocities_of)
    known = {key: v for key, v in zip(map(visit_key, star.sources), star.v_rel, strict=True) if key}
    times = [{int(jd * 1440): v for jd, v in zip(star.jd_mid, star.v_rel, strict=True) if np.isfinite(jd)}]
    stated = [
        known.get(visit_key(s.path.name), times[0].get(int(float(s.jd_mid[0]) * 1440), np.nan))
        for s in spectra
    ]
    if not np.isfinite(stated).any():
        message = f"none of the visits stands in {velocities_of}"
        raise DataError(message, path=velocities_of)
    return np.array(stated, np.float64), np.full(len(stated), np.nan)


def visit_key(name: str) -> str:
    """Return plate, night and fibre of the name of a visit: releases differ in what is before."""
    parts = Path(name).stem.split("-")
    return "-".join(parts[-3:]) if len(parts) >= 4 else ""


def visit_snr(spectrum: Spectrum) -> float:
    """Return the signal-to-noise ratio per pixel of a visit."""
    from astra.spectra.snr import signal_to_noise

    return float(signal_to_noise(spectrum.flux, spectrum.ivar, spectrum.bad)[0])


def snr_of(row: Any) -> Any:
    """Return the signal-to-noise ratio per pixel of a sum or a visit at rest."""
    from astra.spectra.snr import signal_to_noise

    return signal_to_noise(row.flux[None], row.ivar[None])[0]


def table_rows(rows: list[VisitRow], combined: list[Coadd], n_given: int = 0) -> list[dict[str, Any]]:
    """Return the rows of the table: sums, and visits; of more visits that were given a flag tells."""
    from astra.spectra.flags import SpectrumFlag

    single = len(rows) == 1
    flags = int(SpectrumFlag.SINGLE_VISIT) if single else 0
    flags |= int(SpectrumFlag.VISITS_REJECTED) if n_given > len(rows) else 0
    kinds = () if single else ("coadd", "coadd_global")
    table = [
        {
            "kind": kind,
            "snr": plain(snr_of(total)),
            "n_visits": len(rows),
            "n_good": int((total.ivar > 0).sum()),
        }
        for kind, total in zip(kinds, combined, strict=False)
    ]
    table += [
        {
            "kind": "visit",
            "snr": plain(row.snr),
            "n_visits": 1,
            "n_good": int(row.spectrum.good.sum()),
            "v_rel": plain(row.v_rel),
            "v_rel_err": plain(row.v_rel_err),
            "v_rad": plain(row.v_rad),
        }
        for row in rows
    ]
    empty = dict.fromkeys(("v_rel", "v_rel_err", "v_rad"))
    return [{"row_index": number, "flags": flags, **empty, **row} for number, row in enumerate(table)]


def failed_row(exc: Exception) -> dict[str, Any]:
    """Return the row of a star that could not be summed."""
    from astra.spectra.flags import SpectrumFlag

    flag = SpectrumFlag.READ_FAILED if isinstance(exc, DataError) else SpectrumFlag.FIT_FAILED
    return {"row_index": 0, "kind": "", "flags": int(flag)}
