"""The list of spectra, and the viewer of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astra.database.pages.spectrum_files import get_spectrum_file, list_spectrum_files, results_of
from astra.errors import AstraError, ConfigError, MissingDataError
from astra.products.spectrum import Spectrum
from astra.web.filters import MAX_ID, BadFilterError, Query
from astra.web.site import Answer, Site
from astra.web.spectrum_mask import bits_of_row
from astra.web.spectrum_viewer import NARROW, WIDE, draw_spectrum
from astra.web.spectrum_zoom import zooms

LIST_COLUMNS = ("task_pk", "path", "product", "kind", "snr", "n_pixels", "n_good", "flags")
MAX_FILE_BYTES = 256 << 20
MAX_REDSHIFT = 7.0
MAX_ANGSTROM = 1e6
PIXEL_COLUMNS = ("wavelength", "flux", "ivar", "bad", "pixel_flags")
HIDDEN = {"task_pk", "row_index", "product", "path", "kind"}


def spectra_page(site: Site, query: Query, _keys: Mapping[str, str]) -> Answer:
    """List the spectra that have results."""
    before = query.integer("before", 0, MAX_ID)
    n_rows = query.integer("n", 1, 1000) or 100
    with site.database.reading() as connection:
        rows, further = list_spectrum_files(
            connection,
            text=query.text("text"),
            min_snr=query.number("snr"),
            before=before,
            n_rows=n_rows,
        )
    values = {
        "spectra": rows,
        "filters": query.values,
        "further": query.address("/spectra", before=further, format=None) if further is not None else None,
        "first": query.address("/spectra", before=None, format=None) if before is not None else None,
    }
    data = {"spectra": rows, "next": values["further"]}
    return Answer("spectra_list.html", "spectra", values, data, rows, LIST_COLUMNS)


def spectrum_page(site: Site, query: Query, keys: Mapping[str, str]) -> Answer:
    """Show one spectrum: flux, error, mask, model, and where lines are at a redshift."""
    number = int(keys["spectrum"])
    row_index = query.integer("row", 0, 10_000) or 0
    with site.database.reading() as connection:
        found = get_spectrum_file(connection, number) if number <= MAX_ID else None
        if found is None:
            message = f"There is no spectrum {number}."
            raise MissingDataError(message)
        results = results_of(connection, found["path"], row_index)
    spectrum, problem = _read(site, found)
    redshift = query.number("z", -0.1, MAX_REDSHIFT)
    z = redshift if redshift is not None else _redshift(results)
    bounds = query.number("from", 0.0, MAX_ANGSTROM), query.number("to", 0.0, MAX_ANGSTROM)
    if None not in bounds and not (bounds[0] or 0.0) < (bounds[1] or 0.0):
        message = f"from must be less than to, not {bounds[0]:g} and {bounds[1]:g} Angstrom"
        raise BadFilterError(message)
    row = min(row_index, spectrum.n_rows - 1) if spectrum is not None else row_index
    plots, bits, steps = [], [], []
    if spectrum is not None:
        plots = [draw_spectrum(spectrum, row, z=z, bounds=bounds, size=size) for size in (WIDE, NARROW)]
        bits = bits_of_row(spectrum, row)
        steps = zooms(query, spectrum.wavelength, bounds, number)
    values = {
        "file": found,
        "row": row,
        "n_rows": spectrum.n_rows if spectrum is not None else 0,
        "spectrum": spectrum,
        "problem": problem,
        "plots": plots,
        "mask_bits": bits,
        "zooms": steps,
        "z": z,
        "bounds": bounds,
        "results": {name: [_shown(one) for one in rows] for name, rows in results.items()},
        "newer": query.address(f"/spectrum/{number}", row=row + 1)
        if spectrum and row + 1 < spectrum.n_rows
        else None,
        "older": query.address(f"/spectrum/{number}", row=row - 1) if row > 0 else None,
    }
    rows = _pixels(spectrum, row) if spectrum is not None else []
    data = {"file": found, "row": row, "results": results, "pixels": rows}
    return Answer("spectrum.html", "spectrum", values, data, rows, PIXEL_COLUMNS)


def _read(site: Site, found: Mapping[str, Any]) -> tuple[Spectrum | None, str]:
    """Return the spectra of a file, or why they cannot be shown."""
    from astra.products.spectra import read_spectrum

    try:
        path = site.open_path(found["path"])
        if path.stat().st_size > MAX_FILE_BYTES:
            return None, f"The file is larger than {MAX_FILE_BYTES >> 20} MB."
        return read_spectrum(found["product"], path), ""
    except MissingDataError as exc:
        return None, f"The file cannot be shown: {exc}"
    except (AstraError, ConfigError) as exc:
        return None, f"The file cannot be read: {exc}"


def _redshift(results: Mapping[str, Any]) -> float:
    """Redshift that was measured, else that of the velocity, else 0."""
    for name, column, scale in (
        ("spectral_classification", "z", 1.0),
        ("radial_velocity", "v_rel", 299792.458),
    ):
        value = next((row[column] for row in results.get(name, ()) if row.get(column) is not None), None)
        if value is not None:
            return float(value) / scale
    return 0.0


def _shown(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in row.items() if name not in HIDDEN and value is not None]


def _pixels(spectrum: Spectrum, row: int) -> list[dict[str, Any]]:
    columns = (
        *(spectrum.wavelength, spectrum.flux[row], spectrum.ivar[row]),
        *(spectrum.bad[row], spectrum.pixel_flags[row]),
    )
    names = PIXEL_COLUMNS
    lists = [column.tolist() for column in columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]
