"""CPU seconds and exactness of signature removal on a simulated raw frame, with peers on the same operations.

    python benchmarks/signature_removal.py [PAIR_DIR] [--size 4096] [--peers PYTHON]

The frame has eight amplifiers; overscan, bias, dark, flat, variance and mask are done. Without a folder, one
is made by ../shared/bench/make_pair.py. ccdproc is looked for in this Python, or in the one that is named.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # of one core, as in a worker: numpy looks when it is imported

import numpy as np

MAKER = Path(__file__).resolve().parents[2] / "shared" / "bench" / "make_pair.py"
N_REPEATS = 7
N_AMPLIFIERS, OVERSCAN_COLUMNS = 8, 32
GAIN, READ_NOISE, DARK_TIME_S = 2.0, 8.0, 30.0
SATURATION = 65535


def cpu_s(function):
    """Result and the smallest CPU time of some calls after one that compiles and warms caches [s]."""
    result = function()
    times = []
    for _ in range(N_REPEATS):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return result, min(times)


def read_pair(folder):
    """Arrays of a pair by name, in the machine's byte order."""
    from astropy.io import fits

    arrays = {}
    for name in ("raw", "bias", "dark", "flat", "sci"):
        data = fits.getdata(Path(folder) / f"{name}.fits")
        arrays[name] = np.ascontiguousarray(data, dtype=np.uint16 if name == "raw" else np.float32)
    return arrays


def sections(n_columns):
    """Columns of data and overscan in the raw, and of the data in the image, of each amplifier."""
    width = n_columns // N_AMPLIFIERS
    for k in range(N_AMPLIFIERS):
        first = k * (width + OVERSCAN_COLUMNS)
        last = first + width
        yield slice(first, last), slice(last, last + OVERSCAN_COLUMNS), slice(k * width, (k + 1) * width)


def with_numpy(pair):
    """The same steps with whole arrays, overscan by the median of each row."""
    raw = pair["raw"].astype(np.float32)
    image = np.empty_like(pair["sci"])
    for data, overscan, place in sections(image.shape[1]):
        image[:, place] = raw[:, data] - np.median(raw[:, overscan], axis=1)[:, None]
    image -= pair["bias"]
    variance = np.maximum(image, 0) / GAIN + np.float32((READ_NOISE / GAIN) ** 2)
    image -= DARK_TIME_S * pair["dark"]
    image /= pair["flat"]
    variance /= pair["flat"] ** 2
    mask = np.zeros(image.shape, np.uint32)
    for data, _, place in sections(image.shape[1]):
        mask[:, place] |= (pair["raw"][:, data] >= SATURATION).astype(np.uint32) * np.uint32(2)
    mask[~np.isfinite(image)] |= np.uint32(1)
    return image, variance, mask


def with_ccdproc(pair):
    """The same steps with ccdproc."""
    import astropy.units as u
    import ccdproc
    from astropy.nddata import CCDData

    raw = CCDData(pair["raw"].astype(np.float32), unit="adu")
    image = np.empty_like(pair["sci"])
    for data, overscan, place in sections(image.shape[1]):
        part = ccdproc.subtract_overscan(
            raw[:, data], overscan=raw[:, overscan], overscan_axis=1, median=True
        )
        image[:, place] = part.data
    frame = CCDData(image, unit="adu", mask=np.zeros(image.shape, bool))
    gain, noise = GAIN * u.electron / u.adu, READ_NOISE * u.electron
    frame = ccdproc.create_deviation(frame, gain=gain, readnoise=noise, disregard_nan=True)
    frame = ccdproc.subtract_bias(frame, CCDData(pair["bias"], unit="adu"))
    frame = ccdproc.subtract_dark(
        frame,
        CCDData(pair["dark"], unit="adu"),
        dark_exposure=1 * u.s,
        data_exposure=DARK_TIME_S * u.s,
        scale=True,
    )
    frame = ccdproc.flat_correct(frame, CCDData(pair["flat"], unit=""), norm_value=1.0)
    return frame.data, frame.uncertainty.array**2, frame.mask


def make_amplifiers(shape):
    """Amplifiers of the simulated raw."""
    from astra.images.amplifier import Amplifier

    rows = slice(0, shape[0])
    return [
        Amplifier(f"A{k}", (rows, data), (rows, overscan), (rows, place), GAIN, READ_NOISE, float(SATURATION))
        for k, (data, overscan, place) in enumerate(sections(shape[1]))
    ]


def make_calibrations(pair):
    """Bias, dark and flat of the simulated raw."""
    from astra.images.calibration import Calibration, Calibrations

    nothing = np.zeros(pair["sci"].shape, np.uint32)
    return Calibrations(
        **{
            kind: Calibration(kind, "pair", 0, pair[kind], pair[kind], nothing, gain=GAIN)
            for kind in ("bias", "dark", "flat")
        }
    )


def with_astra(pair, **options):
    """A function without arguments that removes the signature."""
    from astra.images.isr import remove_signature
    from astra.images.isr_config import IsrConfig
    from astra.images.overscan import OverscanConfig

    amplifiers, calibrations = make_amplifiers(pair["sci"].shape), make_calibrations(pair)
    config = IsrConfig(overscan_fit=OverscanConfig(**options))

    def correct():
        frame = remove_signature(
            pair["raw"],
            amplifiers,
            config=config,
            calibrations=calibrations,
            reference_gain=GAIN,
            dark_time_s=DARK_TIME_S,
        )
        return frame.image, frame.variance, frame.mask

    return correct


def astra_pass(pair):
    """CPU seconds of the pass over the pixels alone, into planes that are there already [s]."""
    from astra.images.isr_config import IsrConfig
    from astra.images.isr_pass import Levels, Planes, Settings, correct_amplifiers

    shape = pair["sci"].shape
    amplifiers = make_amplifiers(shape)
    levels = [Levels(np.full(shape[0], 1000.0), np.zeros(shape[1] // N_AMPLIFIERS)) for _ in amplifiers]
    planes, settings = Planes.empty(shape), Settings(IsrConfig(), make_calibrations(pair), GAIN, DARK_TIME_S)
    return cpu_s(lambda: correct_amplifiers(pair["raw"], amplifiers, levels, planes, settings))[1]


def judge(pair, result):
    """Scatter and largest difference to the truth, of pixels that are not marked."""
    image, _, mask = result
    difference = (image - pair["sci"])[np.asarray(mask) == 0]
    return float(np.std(difference, dtype=np.float64)), float(np.abs(difference).max())


def ask_peer(folder, python):
    """What ccdproc needs in another Python, or in this one; None if it is not there."""
    command = [python or sys.executable, str(Path(__file__).resolve()), str(folder), "--only-ccdproc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None, done.stderr.strip().splitlines()[-1]
    return json.loads(done.stdout.strip().splitlines()[-1]), ""


def print_row(name, seconds, scatter, largest):
    print(f"{name:<44}{seconds:>10.3f}{scatter:>16.3f}{largest:>14.2f}")


def compare(folder, python):
    """Print both tables."""
    from astra.images.overscan import METHODS

    pair = read_pair(folder)
    ny, nx = pair["sci"].shape
    print(f"{ny} x {nx}, {N_AMPLIFIERS} amplifiers, bias, dark, flat; best of {N_REPEATS}, one thread")
    print(f"{'':<44}{'CPU s':>10}{'scatter [adu]':>16}{'largest':>14}")
    result, seconds = cpu_s(with_astra(pair))
    print_row("astra", seconds, *judge(pair, result))
    print(f"{'  of these, the pass over the pixels':<44}{astra_pass(pair):>10.3f}")
    plain, seconds = cpu_s(lambda: with_numpy(pair))
    print_row("numpy", seconds, *judge(pair, plain))
    peer, why_not = ask_peer(folder, python)
    if peer is None:
        print(f"ccdproc is left out: {why_not}")
    else:
        print_row(f"ccdproc {peer['version']}", peer["seconds"], peer["scatter"], peer["largest"])
    same, _ = cpu_s(with_astra(pair, method="median_per_row", clip_sigma=1000.0))
    print(f"largest difference to numpy with the same overscan: {np.abs(same[0] - plain[0]).max():.4f} adu,")
    print(f"  of the variance, relative: {np.abs(same[1] / plain[1] - 1).max():.1e}")
    print(f"\n{'overscan':<44}{'CPU s':>10}{'scatter [adu]':>16}{'largest':>14}")
    for method in METHODS:
        result, seconds = cpu_s(with_astra(pair, method=method, order=3))
        print_row(method, seconds, *judge(pair, result))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pair", nargs="?", help="folder with raw, bias, dark, flat and sci .fits")
    parser.add_argument("--size", type=int, default=4096, help="rows of the pair that is made [pixel]")
    parser.add_argument("--peers", default="", help="Python in which ccdproc is installed")
    parser.add_argument("--only-ccdproc", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_ccdproc:
        import ccdproc

        pair = read_pair(arguments.pair)
        result, seconds = cpu_s(lambda: with_ccdproc(pair))
        scatter, largest = judge(pair, result)
        print(
            json.dumps(
                {"version": ccdproc.__version__, "seconds": seconds, "scatter": scatter, "largest": largest}
            )
        )
        return
    if arguments.pair:
        compare(arguments.pair, arguments.peers)
        return
    if not MAKER.is_file():
        print(f"no pair is named, and what makes one is not there: {MAKER}")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(MAKER), str(arguments.size), folder], check=True)
        compare(folder, arguments.peers)


if __name__ == "__main__":
    main()
