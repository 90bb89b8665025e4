"""Cameras with quirks, from the raw file through ProcessCcd: a right answer, or a clear reason for none."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from astropy.io import fits

from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, MASK_UNMASKEDNAN
from astra.instruments import camera_files, registry
from astra.instruments.camera_tables import parse_camera
from astra.instruments.toml_camera import TomlCamera
from astra.products.catalogs import read_catalog
from astra.products.exposures import read_exposure
from astra.tasks.process_ccd import ProcessCcd
from tests.images.star_field import GAIN, NJY_PER_ADU, PIXEL_ARCSEC, SHAPE, make_star_field
from tests.tasks.night import build, rows, states

WIDTH, OVERSCAN, BIAS = 230, 16, 1000.0
VISIT = 2026112000012
CAMERA = """
name = "quirky"
pixel_scale_arcsec = 0.4
reference_gain = 2.0

[files]
patterns = ["t*.fits"]
layout = "detector"

[exposure]
seq_num = { value = 12 }
begin = { value = "2026-11-21T02:00:00", scale = "tai" }
exposure_time_s = { value = 30.0 }
physical_filter = { value = "r" }
day_obs = { value = 20261120 }

[filters]
r = "r"

[wcs]
sources = ["header"]
pixels = "assembled"

[[amplifiers]]
name = "A"
data = "[1:230,1:330]"
overscan = "[231:246,1:330]"
assembled = "[1:230,1:330]"
gain = 2.0
read_noise = 4.0
saturation = 65000

[[amplifiers]]
name = "B"
data = "[247:476,1:330]"
overscan = "[477:492,1:330]"
assembled = "[231:460,1:330]"
gain = 2.0
read_noise = 4.0
saturation = 65000

[[detectors]]
detector = 3
name = "T3"
"""
FLIPPED = CAMERA.replace('"[231:460,1:330]"', '"[460:231,330:1]"')
MASKED = CAMERA + 'defects = ["[1:460,1:330]"]\n'
PATCH = np.s_[40:90, 150:200]


class DoubtfulCamera(TomlCamera):
    """A camera that subtracts too much from its variance in some place."""

    def __init__(self):
        """It is the plain one otherwise."""
        super().__init__(
            parse_camera(tomllib.loads(CAMERA.replace("quirky", "doubtful")), "doubtful.toml", None)
        )

    def load(self, path, detector=None):
        """Read a frame."""
        exposure = super().load(path, detector)
        exposure.variance[PATCH] = -5.0
        return exposure


@dataclass
class Raw:
    """A raw frame on its way to the file."""

    pixels: np.ndarray
    header: fits.Header
    sky: np.ndarray = field(repr=False)

    @property
    def second(self):
        """Data of the second amplifier."""
        return self.pixels[:, WIDTH + OVERSCAN : 2 * WIDTH + OVERSCAN]


def flip(raw):
    raw.second[:] = raw.second[::-1, ::-1].copy()


def kill(raw):
    raw.pixels[:, WIDTH + OVERSCAN :] = BIAS


def spoil(raw):
    raw.pixels[PATCH] = np.nan
    raw.pixels[np.random.default_rng(3).integers(0, SHAPE[0], 200), np.arange(200)] = np.inf


def blank(raw):
    raw.pixels[:, :WIDTH], raw.second[:] = raw.sky[:, :WIDTH], raw.sky[:, WIDTH:]


def saturate(raw):
    raw.pixels[:, :WIDTH], raw.second[:] = 65535.0, 65535.0


def trim(raw):
    raw.pixels = np.delete(raw.pixels, np.r_[WIDTH : WIDTH + OVERSCAN, -OVERSCAN:0], axis=1)


def shift(arcsec):
    def move(raw):
        raw.header["CRVAL1"] += arcsec / 3600 * 0.6 / np.cos(np.radians(raw.header["CRVAL2"]))
        raw.header["CRVAL2"] += arcsec / 3600 * 0.8

    return move


@dataclass(frozen=True)
class Quirk:
    """What is odd, and what must come of it: no error, or one that says this and leaves these unfitted."""

    change: Callable[[Raw], None] = lambda raw: None
    camera: str = CAMERA
    instrument: str = "quirky"
    error: str = ""
    missing: tuple[str, ...] = ()
    bad: tuple[slice, slice] | None = None
    bits: int = MASK_BAD


QUIRKS = {
    "none": Quirk(),
    "flipped amplifier": Quirk(flip, FLIPPED),
    "dead amplifier": Quirk(kill, bad=np.s_[:, WIDTH:], bits=MASK_BAD | MASK_NO_DATA),
    "NaN": Quirk(spoil, bad=PATCH, bits=MASK_BAD | MASK_UNMASKEDNAN),
    "negative variance": Quirk(instrument="doubtful", bad=PATCH),
    "WCS off by 30 arcsec": Quirk(shift(30.0)),
    "WCS off by 10 arcmin": Quirk(shift(600.0), error="sources match", missing=("wcs", "photo_calib")),
    "no stars": Quirk(blank, error="usable as PSF stars", missing=("psf", "wcs", "photo_calib")),
    "trimmed overscan": Quirk(trim, error="must lie in its HDU of 330 rows and 460 columns"),
    "all masked": Quirk(camera=MASKED, error="no pixel is usable"),
    "all saturated": Quirk(saturate),
}


@pytest.fixture(scope="module")
def star_field():
    return make_star_field()


@pytest.fixture
def process(star_field, astra_root, monkeypatch):
    """Write the raw of a quirk and its camera, run ProcessCcd on it; return the task and its success."""

    def run(quirk):
        (astra_root / "quirky.toml").write_text(quirk.camera)
        monkeypatch.setattr(camera_files, "_source", lambda: [astra_root / "quirky.toml"])
        monkeypatch.setitem(registry.BUILT_IN, "doubtful", f"{__name__}:DoubtfulCamera")
        registry.forget_cameras()
        write_raw(astra_root / "t12.fits", star_field, quirk)
        catalogue = fits.BinTableHDU(star_field.reference)
        for old, new in (("flux", "r_flux"), ("fluxErr", "r_fluxErr")):
            catalogue.columns.change_name(old, new)
        catalogue.writeto(astra_root / "reference.fits")
        task = ProcessCcd(
            instrument=quirk.instrument,
            raw=str(astra_root / "t12.fits"),
            visit=VISIT,
            detector=3,
            reference_catalog=str(astra_root / "reference.fits"),
            options="psf.size_pixel=31",
        )
        return task, build(task)

    yield run
    registry.forget_cameras()


def write_raw(path, star_field, quirk):
    rng, light = np.random.default_rng(5), star_field.exposure.image
    pixels = rng.normal(BIAS, 2.0, (SHAPE[0], 2 * (WIDTH + OVERSCAN)))
    level = np.full(SHAPE, 100.0)
    sky = BIAS + level + rng.normal(size=SHAPE) * np.sqrt(level / GAIN + 4.0)
    pixels[:, :WIDTH] = BIAS + light[:, :WIDTH]
    raw = Raw(pixels, star_field.wcs.to_header(), sky)
    raw.second[:] = BIAS + light[:, WIDTH:]
    quirk.change(raw)
    fits.PrimaryHDU(raw.pixels.astype(np.float32), raw.header).writeto(path)


@pytest.mark.parametrize(
    "name", [name for name, quirk in QUIRKS.items() if not quirk.error and name != "all saturated"]
)
def test_the_answer_is_right(star_field, process, astra_root, name):
    quirk = QUIRKS[name]
    task, succeeded = process(quirk)
    assert succeeded
    assert states(astra_root, "ProcessCcd") == {(VISIT, 3): "done"}
    calexp, sources = read_exposure(task.path("calexp")), read_catalog(task.path("src"))
    truth, good = star_field.truth, np.ones(SHAPE, dtype=bool)
    if quirk.bad is not None:
        good[quirk.bad] = False
        assert (calexp.mask[quirk.bad] & quirk.bits == quirk.bits).all()
    assert np.isfinite(calexp.variance).all()
    assert calexp.variance.min() > 0
    ra, dec = calexp.wcs.all_pix2world(truth["x"], truth["y"], 0)
    true_ra, true_dec = star_field.wcs.all_pix2world(truth["x"], truth["y"], 0)
    assert (
        np.hypot((ra - true_ra) * np.cos(np.radians(dec)), dec - true_dec).max() < 0.1 * PIXEL_ARCSEC / 3600
    )
    assert calexp.metadata["NJYADU"] == pytest.approx(NJY_PER_ADU, rel=0.01)
    seen = good[np.rint(truth["y"]).astype(int), np.rint(truth["x"]).astype(int)]
    distance = np.hypot(sources["x"][:, None] - truth["x"], sources["y"][:, None] - truth["y"])
    assert (distance.min(axis=0)[seen] < 1.0).mean() > 0.97
    clean = (distance.min(axis=1) < 1.0) & ~sources["flag_bad"] & ~sources["flag_psfFlux"]
    flux = NJY_PER_ADU * truth["flux"][distance.argmin(axis=1)]
    pull = (sources["psfFlux"] - flux)[clean] / sources["psfFluxErr"][clean]
    assert abs(np.median(pull)) < 0.3
    assert 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.3
    if name == "dead amplifier":
        assert calexp.metadata["DEADAMPS"] == "B"
        assert sources["x"].max() < WIDTH + 1


@pytest.mark.parametrize("name", [name for name, quirk in QUIRKS.items() if quirk.error])
def test_there_is_no_answer_and_the_reason_is_given(process, astra_root, name):
    quirk = QUIRKS[name]
    task, succeeded = process(quirk)
    assert not succeeded
    assert not task.complete()
    assert states(astra_root, "ProcessCcd") == {(VISIT, 3): "failed"}
    query = "SELECT error_class, message, context FROM task_attempt WHERE error_class IS NOT NULL"
    [(error_class, message, context)] = rows(astra_root, query)
    assert quirk.error in message
    assert error_class.rpartition(".")[2] in {"FormatError", "DataError", "TooFewSourcesError"}
    if not quirk.missing:
        assert not task.path("calexp").exists()
        return
    calexp = read_exposure(task.path("calexp"))
    fitted = {name: getattr(calexp, name) for name in ("psf", "wcs", "photo_calib")}
    assert tuple(name for name, value in fitted.items() if value is None) == quirk.missing
    assert calexp.unit == "adu"
    assert {"psf": "NOPSF", "wcs": "NOWCS"}[quirk.missing[0]] in calexp.metadata
    assert "photoCalib" in json.loads(context)["missing"]
    sources = read_catalog(task.path("src"))
    assert np.isnan(sources["psfFlux"]).all()
    assert np.isnan(sources["ra"]).all()


def test_a_frame_that_is_saturated_throughout_has_no_source_that_looks_sound(process, astra_root):
    task, succeeded = process(QUIRKS["all saturated"])
    assert not succeeded
    assert states(astra_root, "ProcessCcd") == {(VISIT, 3): "failed"}
    [(message,)] = rows(astra_root, "SELECT message FROM task_attempt WHERE error_class IS NOT NULL")
    assert "the rest is written, without its psf, wcs, photoCalib" in message
    assert (read_exposure(task.path("calexp")).mask & MASK_SAT).all()
    assert read_catalog(task.path("src"))["flag_saturated"].all()
