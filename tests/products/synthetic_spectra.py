"""Small valid files of the three spectral products, with everything in them known."""

import numpy as np
from astropy.io import fits

CHIP_RANGES = ((16955.0, 16472.0), (16435.0, 15857.0), (15810.0, 15142.0))


def _noisy(rng, shape, snr):
    error = np.full(shape, 2.0)
    return 2.0 * snr + error * rng.standard_normal(shape), error


def write_ap_visit(path, *, n_pixels=64, snr=50.0, seed=1, names=False, **cards):
    flux, error = _noisy(np.random.default_rng(seed), (3, n_pixels), snr)
    error[1, 3], error[1, 4], error[1, 5] = 1e10, 0.0, np.nan
    flux[1, 5] = np.nan
    flags = np.zeros((3, n_pixels), dtype=np.int16)
    flags[0, 7], flags[2, 9] = 1, 1 << 9
    wavelength = np.stack([np.linspace(start, stop, n_pixels) for start, stop in CHIP_RANGES])
    header = fits.Header(
        {"OBJID": "2M00000000+0000000", "TELESCOP": "apo25m", "PLATE": "15000", "MJD5": 59146}
    )
    header.update({"FIBERID": 7, "EXPTIME": 2002.0, "JD-MID": 2459146.75, "NPAIRS": "4", "SURVEY": "SDSS-V"})
    header.update({"SNR": snr, **cards})
    images = [flux.astype("f4"), error.astype("f4"), flags, wavelength]
    images += [np.ones((3, n_pixels), "f4")] * 4 + [np.ones((3, 14)), np.ones((3, 26))]
    titles = ["FLUX", "ERROR", "MASK", "WAVELENGTH"] if names else []
    hdus = [fits.ImageHDU(image, name=name) for image, name in zip(images, titles + [""] * 10, strict=False)]
    table = fits.BinTableHDU.from_columns([fits.Column("APOGEE_ID", "18A", array=["2M00000000+0000000"])])
    fits.HDUList([fits.PrimaryHDU(header=header), *hdus, table]).writeto(path)
    return path


def write_ap_star(path, *, n_visits=2, n_pixels=8575, snr=40.0, seed=2, style="dr17", one_d=False, **cards):
    n_rows = 1 if n_visits == 1 else n_visits + 2
    flux, error = _noisy(np.random.default_rng(seed), (n_rows, n_pixels), snr)
    gap = slice(3300, 3500)
    flux[:, gap], error[:, gap] = (np.nan, np.nan) if style == "dr19" else (0.0, 1e10)
    flags = np.zeros((n_rows, n_pixels), dtype=np.int16 if style == "dr13" else np.int64)
    flags[:, 100] = 1 << 14
    header = fits.Header({"OBJID": "2M00000000+0000000", "NVISITS": n_visits, "SNR": snr, "NWAVE": n_pixels})
    grid = {"CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "DC-FLAG": 1}
    header.update({"VRAD": 11.0} if style == "dr19" else {"VHELIO": 11.0, "VRAD": 0.0})
    for i in range(1, n_visits + 1):
        header.update({f"SFILE{i}": f"apVisit-{i}.fits", f"JD{i}": 2459000.5 + i, f"BC{i}": 10.0 * i})
        header.update({f"SNRVIS{i}": "NaN" if i == 2 else 30.0 + i, f"VRAD{i}": 2.0 * i})
        if style != "dr19":
            header[f"VHELIO{i}"] = 3.0 * i
        if style != "dr13":
            header[f"VREL{i}"] = 2.0 * i if style == "dr17" else 1.5 * i
    header.update(cards)
    dtype = "f4" if style == "dr13" else "f8"
    images = [flux.astype(dtype), error.astype(dtype), flags] + [np.ones((n_rows, n_pixels), dtype)] * 4
    images = [image[0] if one_d else image for image in images]
    hdus = [fits.ImageHDU(image) for image in images]
    (header if style == "dr13" else hdus[0].header).update(grid)
    fits.HDUList([fits.PrimaryHDU(header=header), *hdus, fits.ImageHDU(), _row(SNR=1.0)]).writeto(path)
    return path


def write_spec(path, *, n_pixels=4648, snr=20.0, seed=3, telescope="SDSS 2.5-M", upper=False, **cards):
    flux, error = _noisy(np.random.default_rng(seed), n_pixels, snr)
    ivar = error**-2
    ivar[5] = 0.0
    flux[6] = np.nan
    and_mask = np.zeros(n_pixels, dtype=np.int32)
    and_mask[7], and_mask[8] = 1 << 23, 1 << 16
    columns = {
        "flux": flux.astype("f4"),
        "loglam": (3.5523 + 1e-4 * np.arange(n_pixels)).astype("f4"),
        "ivar": ivar.astype("f4"),
        "and_mask": and_mask,
        "or_mask": np.full(n_pixels, 1 << 19, dtype=np.int32),
        "sky": np.zeros(n_pixels, "f4"),
    }
    if upper:
        columns = {name.upper(): columns[name] for name in reversed(columns)}
    coadd = fits.BinTableHDU.from_columns(
        [
            fits.Column(name, "J" if "MASK" in name.upper() else "E", array=array)
            for name, array in columns.items()
        ],
        name="COADD",
    )
    header = fits.Header(
        {"TELESCOP": telescope, "EXPTIME": 3600.0, "HELIO_RV": 12.5, "VERS2D": "v6_1_3", **cards}
    )
    spall = _row(CATALOGID=4544940698, CLASS="STAR  ", SN_MEDIAN_ALL=snr, Z=-1e-4, IGNORED=1.0)
    spall.name = "SPALL"
    fits.HDUList([fits.PrimaryHDU(header=header), coadd, spall, _row(Z=0.0)]).writeto(path)
    return path


def _row(**values):
    formats = {str: "10A", float: "D", int: "K"}
    return fits.BinTableHDU.from_columns(
        [fits.Column(name, formats[type(value)], array=[value]) for name, value in values.items()]
    )


def write_aspcap_star(path, *, seed=4, nan=True):
    """A normalised star with its model, as the fit of the survey has it: nothing in the gaps."""
    rng = np.random.default_rng(seed)
    model = 1.0 - 0.2 * rng.random(8575)
    error = np.full(8575, 0.01)
    flux = model + error * rng.standard_normal(8575)
    for plane in (flux, error, model):
        plane[3300:3500] = 0.0
    header = fits.Header({"OBJ": "2M00000000+0000000", "SNR": 100.0, "VHELIO": 6.5, "NVISITS": 3, "RA": 11.3})
    hdus = [fits.ImageHDU(plane.astype("f4")) for plane in (flux, error, model)]
    for hdu in hdus:
        hdu.header.update(
            {"CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "DC-FLAG": 1}
        )
    table = _row(APOGEE_ID="2M0000", ASPCAPFLAG=1 << 23, TEFF=4500.0, FPARAM=1.0)
    fits.HDUList([fits.PrimaryHDU(header=header), *hdus, table]).writeto(path)
    if nan:  # not a FITS number, as in real files
        content = path.read_bytes()
        path.write_bytes(
            content.replace(b"RA      =                 11.3", b"RA      =                  NAN")
        )
    return path


def write_mwm(path, *, boss=(1, 1), apogee=(2, 0), star=False, seed=5, grid_column=True):
    """The spectra of one source by instrument and observatory (APO, LCO): so many rows each."""
    rng = np.random.default_rng(seed)
    header = fits.Header(
        {"SDSS_ID": 54392544, "RA": 83.0, "DEC": -5.0, "V_ASTRA": "0.6.0", "GAIA3_ID": "None"}
    )
    hdus = [fits.PrimaryHDU(header=header)]
    tables = zip(("BOSS/APO", "BOSS/LCO", "APOGEE/APO", "APOGEE/LCO"), (*boss, *apogee), strict=True)
    for name, n_rows in tables:
        start, step, n_pixels = (3.5523, 1e-4, 4648) if "BOSS" in name else (4.179, 6e-6, 8575)
        flux, error = _noisy(rng, (n_rows, n_pixels), 30.0)
        ivar = error**-2
        ivar[:, 5] = 0.0
        flux[:, 6] = np.nan
        flags = np.zeros((n_rows, n_pixels), np.uint64)
        flags[:, 7] = 1 << (23 if "BOSS" in name else 0)
        array = f"{n_pixels}E"
        columns = [
            fits.Column("telescope", "6A", array=[("apo25m" if "APO" in name[-3:] else "lco25m")] * n_rows),
            fits.Column("mjd", "J", array=59000 + np.arange(n_rows)),
            fits.Column("snr", "E", array=np.full(n_rows, 30.0)),
            fits.Column("v_rad" if "APOGEE" in name else "xcsao_v_rad", "E", array=np.full(n_rows, -7.5)),
            fits.Column("flux", array, array=flux),
            fits.Column("ivar", array, array=ivar),
            fits.Column("pixel_flags", f"{n_pixels}K", bzero=2**63, array=flags),
            fits.Column("continuum", array, array=np.full((n_rows, n_pixels), 60.0)),
        ]
        if grid_column:
            grid = np.tile(10 ** (start + step * np.arange(n_pixels)), (n_rows, 1))
            columns.append(fits.Column("wavelength", array, array=grid))
        if not star:
            columns.append(fits.Column("in_stack", "L", array=[True] * n_rows))
        if "APOGEE" in name:
            columns.append(fits.Column("jd", "D", array=2459000.5 + np.arange(n_rows)))
        hdus.append(fits.BinTableHDU.from_columns(columns, name=name))
        hdus[-1].header.update({"CRVAL": start, "CDELT": step, "NPIXELS": n_pixels})
    fits.HDUList(hdus).writeto(path)
    return path


def add_exposures(path, *, n=2, n_pixels=60):
    """Single exposures of a full BOSS file, blue and red in turn, after the lines that were fitted."""
    with fits.open(path, mode="append") as hdus:
        hdus.append(_row(LINEWAVE=6564.6))
        for number in range(n):
            start = 3.55 if number % 2 == 0 else 3.77
            loglam = start + 1.3e-4 * np.arange(n_pixels)
            columns = {"flux": np.full(n_pixels, 5.0), "loglam": loglam, "ivar": np.full(n_pixels, 4.0)}
            table = [fits.Column(name, "E", array=values) for name, values in columns.items()]
            table.append(fits.Column("mask", "J", array=np.arange(n_pixels) % 2 << 16))
            hdu = fits.BinTableHDU.from_columns(table, name=f"{'BR'[number % 2]}1-0000000{number}")
            hdu.header.update(
                {"EXPTIME": 900.0, "HELIO_RV": -3.0, "TAI-BEG": 4900375284.0, "TAI-END": 4900376184.0}
            )
            hdus.append(hdu)
    return path
