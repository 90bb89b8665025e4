"""The cameras of the benchmarks' simulated pairs."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError
from astra.instruments.toml_camera import TomlCamera

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
HEADER = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.0,
    "CRVAL2": -20.0,
    "CRPIX1": 1024.5,
    "CRPIX2": 1024.5,
    "CD1_1": -0.2 / 3600,
    "CD2_2": 0.2 / 3600,
    "GAIN": 2.0,
    "RDNOISE": 8.0,
    "SATURATE": 60000.0,
    "EXPTIME": 30.0,
}


@pytest.mark.parametrize(("name", "size"), [("pair_camera", 2048), ("pair_camera_4k", 4096)])
def test_eight_amplifiers_make_a_square(name, size):
    camera = TomlCamera.from_file(BENCHMARKS / f"{name}.toml")
    [detector] = camera.detectors
    assert (detector.n_rows, detector.n_columns) == (size, size)
    assert len(camera.plan.detectors[0].amplifiers) == 8


def test_a_raw_of_a_pair_is_assembled(tmp_path):
    camera = TomlCamera.from_file(BENCHMARKS / "pair_camera.toml")
    size, width, overscan = 2048, 256, 32
    light = np.tile(np.arange(size, dtype=np.uint16), (size, 1))
    raw = np.zeros((size, 8 * (width + overscan)), np.uint16)
    for index in range(8):
        first = index * (width + overscan)
        raw[:, first : first + width + overscan] = 1000 + 15 * index
        raw[:, first : first + width] += light[:, index * width : (index + 1) * width]
    path = tmp_path / "raw.fits"
    fits.PrimaryHDU(raw, fits.Header(list(HEADER.items()))).writeto(path)
    exposure = camera.load(path)
    np.testing.assert_allclose(exposure.image[::500], light[::500])
    assert exposure.gain == 2.0
    np.testing.assert_allclose(exposure.wcs.wcs_pix2world(1023.5, 1023.5, 0), (150.0, -20.0))
    with pytest.raises(FormatError, match="header key NAXIS1 must be 4352 in a raw of pair4k, found 2304"):
        TomlCamera.from_file(BENCHMARKS / "pair_camera_4k.toml").read_frames(path)
