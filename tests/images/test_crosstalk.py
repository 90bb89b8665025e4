import dataclasses

import numpy as np
import pytest

from astra.errors import DataError
from astra.images.amplifier import READOUT_CORNERS, Amplifier
from astra.images.calibration import Calibrations, Crosstalk
from astra.images.crosstalk import mark_crosstalk, subtract_crosstalk
from astra.images.exposure import MASK_CROSSTALK
from astra.images.isr import correct_raw, remove_signature
from astra.images.isr_config import IsrConfig
from astra.images.raw_image import RawImage
from tests.images.calibration_frames import Truth

NY, NX = 30, 20
CORNERS = ("LL", "LR", "UL", "UR")
COUPLING = np.array(
    [[0.0, 1e-3, 2e-4, 0.0], [5e-4, 0.0, -3e-4, 1e-4], [0.0, 4e-4, 0.0, 2e-3], [1e-4, 0.0, 6e-4, 0.0]]
)


def make_amplifiers(**changes):
    """Four amplifiers in two rows of two, each with its output in its own corner."""
    amplifiers = []
    for k, corner in enumerate(CORNERS):
        rows = slice(NY * (k // 2), NY * (k // 2 + 1))
        columns = slice(NX * (k % 2), NX * (k % 2 + 1))
        values = {
            "name": f"A{k}",
            "data": (rows, columns),
            "overscan": (slice(0, 0), slice(0, 0)),
            "assembled": (rows, columns),
            "gain": 1.0,
            "read_noise": 5.0,
            "saturation": 60000.0,
            "amplifier_corner": corner,
        }
        amplifiers.append(Amplifier(**{**values, **changes}))
    return amplifiers


def light(seed=1):
    rng = np.random.default_rng(seed)
    image = rng.normal(100.0, 5.0, size=(2 * NY, 2 * NX))
    image[4, 7] = image[41, 33] = 50000.0
    return image


def couple(image, amplifiers, matrix=COUPLING, quadratic=None):
    """Add to each amplifier what it shows of the others, by the order in which pixels are read."""
    streams = []
    for amplifier in amplifiers:
        dy, dx = READOUT_CORNERS[amplifier.first_read_corner]
        streams.append(image[amplifier.assembled][::dy, ::dx].ravel())
    streams = np.array(streams)
    read = streams + matrix @ streams + (0.0 if quadratic is None else quadratic @ streams**2)
    coupled = image.copy()
    for amplifier, stream in zip(amplifiers, read, strict=True):
        dy, dx = READOUT_CORNERS[amplifier.first_read_corner]
        coupled[amplifier.assembled] = stream.reshape(NY, NX)[::dy, ::dx]
    return coupled.astype(np.float32)


def known(matrix=COUPLING, quadratic=None):
    return Crosstalk(tuple(f"A{k}" for k in range(4)), matrix, quadratic)


@pytest.mark.parametrize("quadratic", [None, COUPLING * 1e-6])
def test_crosstalk_is_removed_to_the_second_order_of_the_coefficients(quadratic):
    amplifiers, image = make_amplifiers(), light()
    found = couple(image, amplifiers, quadratic=quadratic)
    before = np.abs(found - image).max()
    subtract_crosstalk(found, amplifiers, known(quadratic=quadratic))
    assert before > 90.0
    assert np.abs(found - image).max() < 0.25


def test_ghosts_lie_where_the_order_of_reading_puts_them():
    amplifiers, image = make_amplifiers(), np.zeros((2 * NY, 2 * NX))
    image[4, 7] = 10000.0
    coupled = couple(image, amplifiers)
    ghosts = {tuple(place) for place in np.argwhere(np.abs(coupled) > 0.5).tolist()} - {(4, 7)}
    assert ghosts == {(4, 2 * NX - 1 - 7), (2 * NY - 1 - 4, 2 * NX - 1 - 7)}


@pytest.mark.parametrize("background", ["amplifier", "detector"])
def test_a_background_leaves_the_level_of_the_targets_alone(background):
    amplifiers, image = make_amplifiers(), light()
    found = image.astype(np.float32)
    subtract_crosstalk(found, amplifiers, known(), background=background)
    assert np.median(found - image) == pytest.approx(0.0, abs=0.01)
    plain = image.astype(np.float32)
    subtract_crosstalk(plain, amplifiers, known())
    assert abs(np.median(plain - image)) > 0.05


def test_targets_of_bright_sources_are_marked():
    amplifiers, mask = make_amplifiers(), np.zeros((2 * NY, 2 * NX), np.uint32)
    image = light().astype(np.float32)
    image[41, 33] = 100.0
    mark_crosstalk(image, mask, amplifiers, known(), 45000.0)
    # The source in A0 shows in A1 and A3, not in A2.
    marked = {tuple(place) for place in np.argwhere(mask & MASK_CROSSTALK).tolist()}
    assert marked == {(4, 2 * NX - 1 - 7), (2 * NY - 1 - 4, 2 * NX - 1 - 7)}


def test_signature_removal_subtracts_it_before_the_flat_and_says_so():
    amplifiers, image = make_amplifiers(), light()
    raw = couple(image, amplifiers)
    calibrations = Calibrations(crosstalk=known())
    frame = remove_signature(raw, amplifiers, calibrations=calibrations, reference_gain=1.0)
    np.testing.assert_allclose(frame.image, image, atol=0.25)
    assert np.count_nonzero(frame.mask & MASK_CROSSTALK) == 4
    off = remove_signature(
        raw, amplifiers, calibrations=calibrations, config=IsrConfig(crosstalk=False), reference_gain=1.0
    )
    np.testing.assert_array_equal(off.image, raw)
    with pytest.raises(ValueError, match="needs a reference gain"):
        remove_signature(raw, amplifiers, calibrations=calibrations)


def test_two_passes_with_nothing_coupled_give_what_one_gives():
    truth = Truth(3)
    raw = truth.read_out(np.random.default_rng(1), 700.0, time_s=50.0)
    raw.pixels[4, 5] = np.nan
    raw.pixels[8:12, 20] = 61000.0
    calibrations = Calibrations(**{kind: truth.calibration(kind) for kind in ("bias", "dark", "flat")})
    nothing = Crosstalk(("A0", "A1"), np.zeros((2, 2)))
    one = correct_raw(raw, calibrations)
    two = correct_raw(raw, dataclasses.replace(calibrations, crosstalk=nothing))
    np.testing.assert_allclose(two.image, one.image, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(two.variance, one.variance, rtol=1e-6)
    np.testing.assert_array_equal(two.mask, one.mask)
    assert two.metadata["ISRXTALK"] is True
    assert isinstance(raw, RawImage)


def test_a_matrix_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="must be a 2 x 2 matrix"):
        Crosstalk(("A0", "A1"), np.zeros((2, 3)))
    image = np.zeros((2 * NY, 2 * NX), np.float32)
    with pytest.raises(DataError, match="names amplifier B, the detector has A0"):
        subtract_crosstalk(image, make_amplifiers(), Crosstalk(("A0", "B"), np.zeros((2, 2))))
    uneven = make_amplifiers()
    uneven[1] = dataclasses.replace(uneven[1], assembled=(slice(0, NY), slice(NX, NX + 5)))
    with pytest.raises(DataError, match="must have one shape"):
        subtract_crosstalk(image, uneven, known())
