"""Small simulated frames of a detector with a signature, and the truth about it."""

import numpy as np

from astra.images.amplifier import Amplifier
from astra.images.calibration import Calibration
from astra.images.exposure import VisitInfo
from astra.images.raw_image import RawImage

SHAPE = (60, 80)
GAINS, NOISES, LEVELS = (1.9, 1.5), (4.0, 6.0), (1000.0, 1200.0)
REFERENCE_GAIN = 2.0


def make_amplifiers(**changes):
    """Two amplifiers side by side of 60 x 40, the second read from the right; overscan of 24 columns."""
    rows = slice(0, SHAPE[0])
    return tuple(
        Amplifier(
            **{
                "name": f"A{k}",
                "data": (rows, slice(64 * k, 64 * k + 40)),
                "overscan": (rows, slice(64 * k + 40, 64 * k + 64)),
                "assembled": (rows, slice(40 * k, 40 * k + 40)),
                "gain": GAINS[k],
                "read_noise": NOISES[k],
                "saturation": 60000.0,
                "readout_corner": ("LL", "LR")[k],
                **changes,
            }
        )
        for k in (0, 1)
    )


class Truth:
    """Bias [adu at the reference gain], dark [adu/s] and flat of the detector, shape (60, 80)."""

    def __init__(self, seed=1):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
        self.bias = 3.0 * np.sin(x / 7.0) + rng.normal(0.0, 1.0, SHAPE)
        self.dark = 0.2 + 0.05 * np.abs(rng.normal(size=SHAPE)) + 0.1 * (y / SHAPE[0])
        flat = 1.0 - 0.1 * ((x - 40.0) / 40.0) ** 2 + rng.normal(0.0, 0.01, SHAPE)
        self.flat = flat / flat.mean()

    def read_out(self, rng, light_adu, *, time_s=0.0, kind="science", exposure=1, amplifiers=None, **changes):
        """Expose to light [adu at the reference gain, before the flat] and read out."""
        electrons = rng.poisson(
            np.maximum((light_adu * self.flat + self.dark * time_s) * REFERENCE_GAIN, 0.0)
        )
        raw = np.empty((SHAPE[0], 128))
        for k, amplifier in enumerate(amplifiers or make_amplifiers()):
            block = raw[:, 64 * k : 64 * k + 64]
            block[:] = LEVELS[k] + rng.normal(0.0, NOISES[k] / GAINS[k], block.shape)
            place = amplifier.assembled
            adu = (electrons[place] + self.bias[place] * REFERENCE_GAIN) / GAINS[k]
            raw[amplifier.data] += adu[:, ::-1] if amplifier.readout_corner == "LR" else adu
        info = VisitInfo("simcam", exposure, 0, "r", "sim-r", 61000.0 + exposure, time_s)
        values = {
            # Not rounded, so that the noise is that of the amplifiers alone.
            "pixels": raw.astype(np.float32),
            "amplifiers": amplifiers or make_amplifiers(),
            "info": info,
            "reference_gain": REFERENCE_GAIN,
            "observation_type": kind,
        }
        return RawImage(**{**values, **changes})

    def calibration(self, kind, **changes):
        """A perfect calibration."""
        image = getattr(self, kind).astype(np.float32)
        values = {
            "kind": kind,
            "instrument": "simcam",
            "detector": 0,
            "image": image,
            "variance": np.zeros_like(image),
            "mask": np.zeros(SHAPE, np.uint32),
            "gain": REFERENCE_GAIN,
            "gains": {"A0": GAINS[0], "A1": GAINS[1]},
        }
        return Calibration(**{**values, **changes})
