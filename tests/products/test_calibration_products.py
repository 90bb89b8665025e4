import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError, MissingDataError
from astra.images.calibration import AmplifierResponse, Calibration, Calibrations, Crosstalk
from astra.images.defects import Defects, boxes_of
from astra.images.photon_transfer import PhotonTransfer
from astra.products.atomic import checksum
from astra.products.calibrations import (
    CalibrationInfo,
    load_calibrations,
    read_calibration,
    read_calibration_info,
    read_crosstalk,
    read_defects,
    read_kernel,
    read_responses,
    write_calibration,
    write_crosstalk,
    write_defects,
    write_kernel,
    write_photon_transfer,
)

SHAPE = (7, 11)


def info(kind):
    return CalibrationInfo(
        kind, "simcam", 1, "sim-r", {"level_A1": 2.5, "dropped": "3: noise"}, {"NFRAMES": 4}
    )


def make_calibration(kind="flat"):
    rng = np.random.default_rng(1)
    image, variance = rng.normal(1.0, 0.1, size=(2, *SHAPE)).astype(np.float32)
    mask = rng.integers(0, 2**31, SHAPE).astype(np.uint32)
    return Calibration(
        image=image,
        variance=variance**2,
        mask=mask,
        gain=2.0,
        gains={"A1": 1.9, "A2": 2.1},
        sections={"A1": (slice(0, 7), slice(0, 5)), "A2": (slice(0, 7), slice(5, 11))},
        **vars(info(kind)),
    )


def transfer():
    response = AmplifierResponse(1.2, 0.01, 3.5, float("nan"))
    points = (np.array([1.0, 2.0]), np.array([3.0, 4.0]), np.array([5, 6]), np.array([True, False]))
    return {
        "1": PhotonTransfer(response, *points, -1e-6, {(0, 1): 0.01}),
        "two": PhotonTransfer(dataclasses.replace(response, turnoff_adu=4e4), *points, 0.0, {}),
    }


def test_a_combined_image_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "deep" / "flat.fits"
    calibration = make_calibration()
    write_calibration(path, calibration)
    found = read_calibration(path, "flat")
    for name in ("image", "variance", "mask"):
        before, after = getattr(calibration, name), getattr(found, name)
        np.testing.assert_array_equal(after, before)
        assert after.dtype == before.dtype
        assert after.dtype.isnative
    assert vars(info("flat")) == {name: getattr(found, name) for name in vars(info("flat"))}
    assert (found.gain, found.gains) == (2.0, {"A1": 1.9, "A2": 2.1})
    assert found.sections == calibration.sections
    assert read_calibration_info(path) == info("flat")
    without = read_calibration(path, with_variance=False)
    np.testing.assert_array_equal(without.image, calibration.image)
    assert np.isnan(without.variance).all()


def test_other_programs_find_cards_units_and_checksums(tmp_path):
    path = tmp_path / "dark.fits"
    write_calibration(path, make_calibration("dark"))
    with fits.open(path, checksum=True) as hdus:
        assert hdus[0].header["CALKIND"] == "dark"
        assert (hdus[0].header["DETECTOR"], hdus[0].header["NFRAMES"]) == (1, 4)
        assert hdus["IMAGE"].header["BUNIT"] == "adu/s"
        assert "CHECKSUM" in hdus["MASK"].header


def test_equal_content_makes_equal_files(tmp_path):
    for name in ("a.fits", "b.fits"):
        write_calibration(tmp_path / name, make_calibration())
    assert checksum(tmp_path / "a.fits") == checksum(tmp_path / "b.fits")


@pytest.mark.parametrize("n_bad", [0, 9])
def test_defects_come_back(tmp_path, n_bad):
    kinds = np.zeros(SHAPE, np.uint8)
    kinds[2:5, 3:6].flat[:n_bad] = 4
    write_defects(tmp_path / "d.fits", Defects(kinds, boxes_of(kinds)), info("defects"))
    found = read_defects(tmp_path / "d.fits")
    np.testing.assert_array_equal(found.kinds, kinds)
    assert found.mask.sum() == n_bad


def test_responses_come_back(tmp_path):
    write_photon_transfer(tmp_path / "p.fits", transfer(), info("photon_transfer"))
    found = read_responses(tmp_path / "p.fits")
    assert list(found) == ["1", "two"]
    assert found["two"] == transfer()["two"].response
    assert np.isnan(found["1"].turnoff_adu)
    with fits.open(tmp_path / "p.fits") as hdus:
        assert hdus["POINTS"].data["used"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("quadratic", [None, np.array([[0.0, 1e-9], [0.0, 0.0]])])
def test_a_crosstalk_matrix_comes_back(tmp_path, quadratic):
    crosstalk = Crosstalk(("a", "b"), np.array([[0.0, 1e-4], [2e-4, 0.0]]), quadratic)
    write_crosstalk(tmp_path / "x.fits", crosstalk, info("crosstalk"))
    found = read_crosstalk(tmp_path / "x.fits")
    assert found.names == crosstalk.names
    np.testing.assert_array_equal(found.coefficients, crosstalk.coefficients)
    assert (found.quadratic is None) == (quadratic is None)


def test_a_kernel_comes_back(tmp_path):
    kernel = np.random.default_rng(1).normal(size=(9, 9))
    write_kernel(tmp_path / "k.fits", kernel, info("brighter_fatter"))
    np.testing.assert_array_equal(read_kernel(tmp_path / "k.fits"), kernel)


def test_all_kinds_load_together_with_their_sources(tmp_path):
    files = {
        kind: (str(tmp_path / f"{kind}.fits"), f"sum-{kind}") for kind in ("bias", "dark", "flat", "fringe")
    }
    for kind, (path, _) in files.items():
        write_calibration(path, make_calibration(kind))
    kinds = np.zeros(SHAPE, np.uint8)
    kinds[1, 1] = 1
    writers = {
        "defects": lambda path: write_defects(path, Defects(kinds, boxes_of(kinds)), info("defects")),
        "photon_transfer": lambda path: write_photon_transfer(path, transfer(), info("photon_transfer")),
        "crosstalk": lambda path: write_crosstalk(
            path, Crosstalk(("a",), np.zeros((1, 1))), info("crosstalk")
        ),
        "brighter_fatter": lambda path: write_kernel(path, np.zeros((3, 3)), info("brighter_fatter")),
    }
    for kind, write in writers.items():
        files[kind] = (str(tmp_path / f"{kind}.fits"), f"sum-{kind}")
        write(files[kind][0])
    found = load_calibrations(files)
    assert [image.kind for image in found.images] == ["bias", "dark", "flat", "fringe"]
    assert found.defects.sum() == 1
    assert found.responses["two"].gain == 1.2
    assert found.crosstalk.names == ("a",)
    assert found.brighter_fatter.shape == (3, 3)
    assert found.sources["bias"] == ("bias.fits", "sum-bias")
    assert load_calibrations({}) == Calibrations()


def test_files_of_another_kind_or_of_none_are_refused(tmp_path):
    path = tmp_path / "flat.fits"
    write_calibration(path, make_calibration())
    with pytest.raises(FormatError, match="must be a calibration of kind bias, found flat"):
        read_calibration(path, "bias")
    with pytest.raises(FormatError, match="of kind defects, found flat"):
        read_defects(path)
    fits.PrimaryHDU(np.zeros(SHAPE)).writeto(tmp_path / "other.fits")
    with pytest.raises(FormatError, match="found none of astra"):
        read_calibration_info(tmp_path / "other.fits")
    with pytest.raises(MissingDataError):
        read_calibration(tmp_path / "gone.fits")
