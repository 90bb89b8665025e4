import numpy as np

from astra.images.calibration import Calibration, places_with_bit
from astra.images.exposure import MASK_BAD, MASK_SAT


def test_bad_pixels_are_those_with_the_bit():
    rng = np.random.default_rng(3)
    mask = np.where(rng.random((40, 70)) < 0.02, MASK_BAD, 0).astype(np.uint32)
    mask[5:9] = 0
    mask[:, 30] |= MASK_SAT
    assert places_with_bit(mask, MASK_BAD).tolist() == np.flatnonzero(mask & MASK_BAD).tolist()
    plane = np.zeros(mask.shape, dtype=np.float32)
    bias = Calibration(
        kind="bias", instrument="c", detector=1, image=plane, variance=plane, mask=mask, gain=2.0
    )
    assert bias.bad_pixels.tolist() == np.flatnonzero(mask & MASK_BAD).tolist()


def test_a_mask_without_the_bit_has_no_place():
    assert len(places_with_bit(np.full((4, 6), MASK_SAT, dtype=np.uint32), MASK_BAD)) == 0
