"""Small summary files, and trees of files, with everything in them known."""

from astropy.io import fits


def _write(path, name, columns):
    table = fits.BinTableHDU.from_columns(
        [fits.Column(key, form, array=values) for key, (form, values) in columns.items()], name=name
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return path


def _of(rows, name, default):
    return [row.get(name, default) for row in rows]


def write_all_visit(path, rows, *, apred="1.3"):
    """Visits of SDSS-V, which has small letters and texts that are padded."""
    columns = {
        "apogee_id": ("20A", _of(rows, "obj", "2M")),
        "apred_vers": ("8A", [apred] * len(rows)),
        "fiberid": ("I", _of(rows, "fiber", 1)),
        "plate": ("8A", [f"{row.get('plate', '15000')}  " for row in rows]),
        "mjd": ("J", _of(rows, "mjd", 59000)),
        "telescope": ("6A", _of(rows, "telescope", "apo25m")),
        "field": ("10A", _of(rows, "field", "13030")),
        "healpix": ("J", _of(rows, "healpix", 12345)),
        "teff": ("E", [4500.0] * len(rows)),
    }
    return _write(path, "ALLVISIT", columns)


def write_all_star(path, rows, *, apred="1.3"):
    """Stars of SDSS-V."""
    columns = {
        "apogee_id": ("20A", _of(rows, "obj", "2M")),
        "apred_vers": ("8A", [apred] * len(rows)),
        "telescope": ("6A", _of(rows, "telescope", "apo25m")),
        "healpix": ("J", _of(rows, "healpix", 12345)),
        "mjdend": ("J", _of(rows, "mjdend", 59000)),
        "ngoodrvs": ("I", _of(rows, "ngoodrvs", 1)),
    }
    return _write(path, "ALLSTAR", columns)


def write_sp_all(path, rows, *, run2d="v6_1_3"):
    """BOSS spectra of SDSS-V."""
    columns = {
        "CATALOGID": ("K", _of(rows, "catalogid", 1)),
        "FIELD": ("J", _of(rows, "field", 15143)),
        "MJD": ("J", _of(rows, "mjd", 59000)),
        "RUN2D": ("8A", [run2d] * len(rows)),
        "FIRSTCARTON": ("20A", _of(rows, "firstcarton", "mwm_wd")),
        "FLUX": ("5E", [[0.0] * 5] * len(rows)),
    }
    return _write(path, "SPALL", columns)
