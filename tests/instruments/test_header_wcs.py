import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astra.errors import FormatError
from astra.instruments.header_wcs import read_header_wcs

SHAPE = (300, 400)
TAN = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.0,
    "CRVAL2": -20.0,
    "CRPIX1": 210.0,
    "CRPIX2": 140.0,
    "CD1_1": -1e-4,
    "CD1_2": 2e-6,
    "CD2_1": 2e-6,
    "CD2_2": 1e-4,
    "CUNIT1": "deg",
    "CUNIT2": "deg",
}
SIP = {
    "CTYPE1": "RA---TAN-SIP",
    "CTYPE2": "DEC--TAN-SIP",
    "A_ORDER": 2,
    "B_ORDER": 2,
    "A_2_0": 3e-6,
    "B_1_1": -2e-6,
}
TPV = {
    "CTYPE1": "RA---TPV",
    "CTYPE2": "DEC--TPV",
    "PV1_1": 1.0,
    "PV2_1": 1.0,
    "PV1_4": 0.01,
    "PV2_6": -0.02,
    "PV1_7": 0.3,
}


def header(**cards):
    return fits.Header(list({**TAN, **cards}.items()))


@pytest.mark.parametrize("cards", [{}, SIP, TPV], ids=["TAN", "SIP", "TPV"])
@pytest.mark.parametrize("shift", [(0, 0), (56, 3)])
def test_coordinates_are_those_of_the_header_for_the_assembled_image(cards, shift):
    given = header(**cards)
    wcs = read_header_wcs("r.fits", given, SHAPE, shift)
    x, y = np.array([0.0, 390.0, 17.5]), np.array([0.0, 20.0, 299.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = WCS(given).all_pix2world(x + shift[0], y + shift[1], 0)
    np.testing.assert_allclose(wcs.all_pix2world(x, y, 0), truth, rtol=0, atol=1e-12)
    back = wcs.all_world2pix(*truth, 0)
    np.testing.assert_allclose(back, (x, y), atol=1e-4)
    assert wcs.array_shape == SHAPE
    assert given["CRPIX1"] == 210.0


def test_the_distortion_is_there():
    for cards in (SIP, TPV):
        linear, distorted = (read_header_wcs("r", header(**c), SHAPE) for c in ({}, cards))
        shift = np.subtract(linear.all_pix2world(390, 290, 0), distorted.all_pix2world(390, 290, 0)) * 3600
        assert np.hypot(*shift) > 0.01


@pytest.mark.parametrize(
    "cards",
    [{"CTYPE1": ""}, {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}],
)
def test_a_header_without_right_ascension_has_none(cards):
    assert read_header_wcs("r", header(**cards), SHAPE) is None
    assert read_header_wcs("r", fits.Header(), SHAPE) is None


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, "right ascension on its first axis"),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "in ICRS or FK5 of equinox 2000"),
        ({"RADESYS": "FK5", "EQUINOX": 2026.8}, "in ICRS or FK5 of equinox 2000"),
        ({"CD1_1": 0.0, "CD1_2": 0.0}, "wcslib understands"),
        ({"CTYPE1": "RA---XYZ", "CTYPE2": "DEC--XYZ"}, "wcslib understands"),
        ({"CRPIX1": "middle"}, "wcslib understands"),
        ({"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CD1_1": -1.0, "CD2_2": 1.0}, "finite positions"),
        ({"CRVAL2": 1e308}, "wcslib understands"),
        ({"A_ORDER": 10**6, **{k: v for k, v in SIP.items() if k != "A_ORDER"}}, "wcslib understands"),
    ],
)
def test_coordinates_that_cannot_be_used_are_refused(cards, expected):
    with pytest.raises(FormatError, match=rf"r\.fits: the sky coordinates of the header must .*{expected}"):
        read_header_wcs("r.fits", header(**cards), SHAPE)


@pytest.mark.parametrize(
    "cards", [{"RADESYS": "FK5", "EQUINOX": 2000.0}, {"RADESYS": "ICRS"}, {"RADECSYS": "FK5"}]
)
def test_frames_of_j2000_are_taken(cards):
    assert read_header_wcs("r", header(**cards), SHAPE) is not None
