import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astra.errors import DataError, FormatError
from astra.instruments.registry import get_instrument

DECAM = get_instrument("decam")
N_ROWS, N_COLUMNS = 4096, 2048
PRIMARY = {
    "INSTRUME": "DECam",
    "OBSID": "ct4m20180804t092331",
    "EXPNUM": 763914,
    "OBSTYPE": "object",
    "FILTER": "i DECam SDSS c0003 7835.0 1470.0",
    "DATE-OBS": "2018-08-04T09:23:31.598174",
    "EXPTIME": 330.0,
    "DARKTIME": 331.1,
    "OBJECT": "field",
    "PROPID": "2018A-0137",
    "RA": "21:07:20.79",
    "DEC": "-65:57:58.2",
    "ZD": 37.6,
    "AZ": 201.3,
}
# Sky coordinates of CCD N6 in a reduced image of that exposure; CRPIX as it counts the trimmed image.
N6_SKY = {
    "CTYPE1": "RA---TPV",
    "CTYPE2": "DEC--TPV",
    "CUNIT1": "deg",
    "CUNIT2": "deg",
    "CRVAL1": 316.8366457274,
    "CRVAL2": -65.96615744051,
    "CRPIX1": -103.0,
    "CRPIX2": -6470.0,
    "CD1_1": -4.277769182710e-07,
    "CD1_2": 7.288176943228e-05,
    "CD2_1": -7.285243193483e-05,
    "CD2_2": -4.178363776447e-07,
    "PV1_0": -2.198081907137e-03,
    "PV1_1": 1.009654718498,
    "PV1_2": -3.758489887115e-04,
    "PV1_4": -7.676233406907e-03,
    "PV1_5": 8.225149965240e-04,
    "PV1_6": -1.572234021545e-03,
    "PV1_7": 1.267021888194e-03,
    "PV1_8": -5.465154073173e-04,
    "PV1_9": -9.358325199841e-04,
    "PV2_0": 2.608600302784e-04,
    "PV2_1": 1.006207625861,
    "PV2_2": -2.900464115462e-04,
    "PV2_4": -1.053301680900e-03,
    "PV2_5": -2.504274501569e-03,
    "PV2_6": 4.978317860406e-04,
    "PV2_7": -6.291070578135e-03,
    "PV2_8": 6.295510808195e-04,
    "PV2_9": -1.208788861368e-03,
}
# Where the amplifiers of a CCD stand in its raw image of 2160 columns and 4146 rows; columns, then first row.
SIDES = {
    "N6": {"A": ("57:1080", "7:56"), "B": ("1081:2104", "2105:2154"), "row": 1},
    "S29": {"A": ("1081:2104", "2105:2154"), "B": ("57:1080", "7:56"), "row": 51},
}
GAINS = {"A": 3.98, "B": 4.10}


def ccd(name, number, cards=(), signal=True):
    """One CCD as it is stored: levels 1000 (A) and 1200 (B), 100 times the column of the image as signal."""
    side = SIDES[name]
    first = side["row"]
    pixels = np.zeros((4146, 2160), np.uint16)
    header = {"CCDNUM": number, "DETPOS": name, **dict(cards)}
    for amplifier, level in (("A", 1000), ("B", 1200)):
        data, overscan = side[amplifier]
        rows = f"{first}:{first + N_ROWS - 1}"
        header |= {
            f"DATASEC{amplifier}": f"[{data},{rows}]",
            f"BIASSEC{amplifier}": f"[{overscan},{rows}]",
            f"GAIN{amplifier}": GAINS[amplifier],
            f"RDNOISE{amplifier}": 6.5,
            f"SATURAT{amplifier}": 42000.0,
        }
        for section in (data, overscan):
            start, stop = map(int, section.split(":"))
            pixels[:, start - 1 : stop] = level
    if signal:
        pixels[:, 56:2104] += 10 * np.arange(N_COLUMNS, dtype=np.uint16)
    hdu = fits.ImageHDU(pixels, name=name)
    hdu.header.update(header)
    return hdu


@pytest.fixture(scope="module")
def raw_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("decam") / "c4d_180804_092331_ori.fits"
    primary = fits.PrimaryHDU()
    primary.header.update(PRIMARY)
    guide = fits.ImageHDU(np.zeros((20, 20), np.uint16), name="GS1")
    guide.header["CCDNUM"] = 64
    stored = {**N6_SKY, "CRPIX1": N6_SKY["CRPIX1"] + 56}
    fits.HDUList([primary, ccd("S29", 1), guide, ccd("N6", 37, stored)]).writeto(path)
    return path


def test_62_detectors_have_names_and_places_of_their_own():
    assert len(DECAM.detectors) == 62
    assert [detector.detector for detector in DECAM.detectors] == list(range(1, 63))
    assert len({detector.name for detector in DECAM.detectors}) == 62
    places = {(detector.x_mm, detector.y_mm): detector.name for detector in DECAM.detectors}
    assert len(places) == 62
    for (x, y), name in places.items():
        # N and S lie opposite to each other, and the rows of CCDs are symmetric too.
        assert places[-x, y] == ("S" if name[0] == "N" else "N") + name[1:]
        assert (x, -y) in places or (x, 0.0) == (x, y)
        assert np.hypot(x, y) < 230.0


def test_neighbours_do_not_overlap():
    for one in DECAM.detectors:
        for other in DECAM.detectors:
            apart_x = abs(one.x_mm - other.x_mm) >= 2048 * 0.015
            apart_y = abs(one.y_mm - other.y_mm) >= 4096 * 0.015
            assert one is other or apart_x or apart_y


def test_the_detectors_look_where_a_real_image_says(shared_data):
    """Centre and corners of CCD N6 on the sky, as in the header of a reduced image, within 20 arcsec.

    What is left is the distortion, and that the camera stands at 90.3 instead of 90 degrees.
    """
    path = shared_data / "decam_sfft" / "input_data" / "DEC-OBS04a.mini.fits"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.getheader(path)
    assert header["CCDNUM"] == 37
    wcs = DECAM.boresight_wcs(header["CRVAL1"], header["CRVAL2"], 90.0, 37)
    ra, dec = ([header[f"COR{k}{axis}1"] for k in (1, 2, 3, 4)] for axis in ("RA", "DEC"))
    x, y = wcs.wcs_world2pix([*ra, header["CENRA1"]], [*dec, header["CENDEC1"]], 0)
    np.testing.assert_allclose(x, [0, 2047, 0, 2047, 1023.5], atol=20 / 0.2626)
    np.testing.assert_allclose(y, [0, 0, 4095, 4095, 2047.5], atol=20 / 0.2626)
    turned = DECAM.boresight_wcs(header["CRVAL1"], header["CRVAL2"], 90.33, 37)
    x, y = turned.wcs_world2pix(header["CENRA1"], header["CENDEC1"], 0)
    assert np.hypot(x - 1023.5, y - 2047.5) * 0.2626 < 3.0


def test_the_science_ccds_of_a_file_become_records(raw_path):
    frames = DECAM.read_frames(raw_path)
    assert [frame.detector for frame in frames] == [1, 37]
    for frame in frames:
        assert (frame.exposure, frame.seq_num, frame.day_obs) == (763914, 763914, 20180803)
        assert (frame.band, frame.observation_type, frame.obs_id) == ("i", "science", "ct4m20180804t092331")
        assert frame.tracking_ra == pytest.approx(316.836625)
        assert frame.tracking_dec == pytest.approx(-65.96616667)
        assert (frame.zenith_angle_deg, frame.azimuth_deg) == (37.6, 201.3)
        assert (frame.exposure_time_s, frame.dark_time_s) == (330.0, 331.1)
        assert frame.begin_mjd_tai == pytest.approx(58334.39133794 + 37 / 86400, abs=1e-7)
    assert DECAM.pack_visit_detector(763914, 37) == 763914 * 63 + 37


def test_the_corners_are_those_of_the_distorted_sky_or_of_the_boresight(raw_path):
    plain, distorted = DECAM.read_frames(raw_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = WCS(fits.Header(list(N6_SKY.items())))
    expected = truth.all_pix2world([[-0.5, -0.5], [2047.5, -0.5], [2047.5, 4095.5], [-0.5, 4095.5]], 0)
    np.testing.assert_allclose(distorted.corners, expected, rtol=0, atol=1e-9)
    boresight = DECAM.boresight_wcs(plain.tracking_ra, plain.tracking_dec, 90.0, 1)
    x, y = boresight.wcs_world2pix(plain.corners, 0).T
    np.testing.assert_allclose(x, [-0.5, 2047.5, 2047.5, -0.5], atol=1e-5)
    np.testing.assert_allclose(y, [-0.5, -0.5, 4095.5, 4095.5], atol=1e-5)


@pytest.mark.parametrize("number", [1, 37])
def test_amplifiers_of_either_side_are_assembled_in_place(raw_path, number):
    exposure = DECAM.load(raw_path, number)
    assert exposure.shape == (N_ROWS, N_COLUMNS)
    left, right = ("B", "A") if number == 1 else ("A", "B")
    columns = np.arange(N_COLUMNS)
    gain = np.where(columns < 1024, GAINS[left], GAINS[right])
    expected = 10.0 * columns * gain / DECAM.plan.reference_gain
    np.testing.assert_allclose(
        exposure.image[[0, 2000, 4095]], np.tile(expected, (3, 1)), rtol=1e-5, atol=1e-3
    )


def test_a_detector_known_to_be_dead_has_no_image(tmp_path):
    path = tmp_path / "DECam_00763914.fits"
    primary = fits.PrimaryHDU()
    primary.header.update(PRIMARY)
    fits.HDUList([primary, ccd("N6", 61)]).writeto(path)
    raw = DECAM.read_raw(path)
    assert all(amplifier.is_dead for amplifier in raw.amplifiers)
    with pytest.raises(DataError, match="dead"):
        DECAM.load(path)


def test_types_and_filters_of_packed_files_are_told_by_their_words(tmp_path):
    path = tmp_path / "c4d_1_zri.fits.fz"
    for word, filter_name, kind, band in [
        ("zero", "solid plate 0.0 0.0", "bias", ""),
        ("dome flat", "Y DECam c0005 10095.0 1130.0", "flat", "y"),
        ("focus", "VR DECam c0007 6300.0 2600.0", "other", "VR"),
    ]:
        primary = fits.PrimaryHDU()
        primary.header.update({**PRIMARY, "OBSTYPE": word, "FILTER": filter_name})
        small = fits.CompImageHDU(np.zeros((40, 40), np.uint16), fits.Header([("CCDNUM", 5)]), name="S26")
        fits.HDUList([primary, small]).writeto(path, overwrite=True)
        [frame] = DECAM.read_frames(path)
        assert frame.detector == 5
        assert (frame.observation_type, frame.band, frame.corners) == (kind, band, None)


def test_ordinary_conditions_are_those_of_the_survey():
    fiducials, fwhm = DECAM.fiducials, {"g": 1.12, "r": 0.96, "i": 0.88, "z": 0.84, "y": 0.90}
    for band, arcsec in fwhm.items():
        assert fiducials[band].psf_sigma_pixel * 2.3548 * 0.2626 == pytest.approx(arcsec, abs=0.002)
    rates = {"u": 92, "g": 590, "r": 588, "i": 566, "z": 446, "y": 159}
    for band, electrons in rates.items():  # of AB 20 in a second
        assert 10 ** (0.4 * (fiducials[band].zero_point_mag - 20)) * 4.0 == pytest.approx(electrons, rel=0.01)
    assert np.isnan([each.mag_lim for each in fiducials.values()]).all()


def test_reduced_images_are_no_raws(shared_data):
    with pytest.raises(FormatError, match="header key INSTRUME must be 'DECam'"):
        DECAM.read_frames(shared_data / "decam_sfft" / "input_data" / "DEC-OBS04a.mini.fits")
