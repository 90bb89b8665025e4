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
