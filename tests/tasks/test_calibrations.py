"""Calibrations of the simulated camera: from frames to files that hold for a time, and to their use."""

import dataclasses
import sqlite3

import numpy as np
import pytest
from astropy.io import fits

from astra.database.calibrations import find_calibrations
from astra.database.engine import reading
from astra.errors import ConfigError, MissingDataError
from astra.images.exposure import MASK_BAD
from astra.instruments import simcam
from astra.products.atomic import checksum
from astra.products.calibrations import read_calibration, read_defects, read_responses
from astra.products.exposures import read_exposure_metadata
from astra.simulation.headers import make_header
from astra.simulation.raw import GAINS, READ_NOISES, Shot, read_out
from astra.tasks.calibration_files import read_mjd_tai
from astra.tasks.calibrations import (
    BuildDefects,
    CombineBias,
    CombineDark,
    CombineFlat,
    MeasurePhotonTransfer,
)
from astra.tasks.process_ccd import ProcessCcd
from tests.tasks.night import attempts, build, states

DAY, FIRST_MJD = 20261101, 61345.0
SHAPE = (simcam.N_ROWS, simcam.N_COLUMNS)
DARK_E_S, FLAT_E = 0.5, 30000.0
HOT, INSENSITIVE = (200, 50), (300, 400)
KINDS = {"bias": range(1, 6), "dark": range(11, 16), "flat": range(21, 27)}


def shot(seq_num, time_s):
    names = [field.name for field in dataclasses.fields(Shot)]
    values = dict.fromkeys(names, 0.0) | {"day_obs": DAY, "seq_num": seq_num, "band": "r", "ra": 10.0}
    return Shot(**values | {"begin_mjd_tai": FIRST_MJD + seq_num * 0.001, "exposure_time_s": time_s})


def flat_field():
    x = np.linspace(-1.0, 1.0, SHAPE[1])
    field = np.ones(SHAPE) * (1.0 - 0.05 * x**2)
    field[INSENSITIVE] = 0.3
    return field


def write_frames(folder, detector=0, light=FLAT_E, kinds=tuple(KINDS), first=0):
    rng = np.random.default_rng(4 + detector)
    for kind in kinds:
        for seq_num in KINDS[kind]:
            time_s = {"bias": 0.0, "dark": 100.0, "flat": 4.0}[kind]
            electrons = np.full(SHAPE, DARK_E_S * time_s)
            electrons[HOT] += 60.0 * time_s
            if kind == "flat":
                electrons += light * flat_field()
            header = make_header(shot(first + seq_num, time_s), detector)
            header["OBSTYPE"] = kind
            path = folder / simcam.raw_name(DAY, first + seq_num, detector)
            fits.PrimaryHDU(read_out(rng, electrons, detector), header).writeto(path)


def ids(kind, first=0):
    return "^".join(str(simcam.make_visit(DAY, first + seq_num)) for seq_num in KINDS[kind])


@pytest.fixture(scope="session")
def calibration_frames(tmp_path_factory):
    """Biases, darks and flats of both detectors."""
    folder = tmp_path_factory.mktemp("calibration-frames")
    for detector in (0, 1):
        write_frames(folder, detector)
    return folder


def make(kind, folder, detector=0, **changes):
    task = {"bias": CombineBias, "dark": CombineDark, "flat": CombineFlat}[kind]
    return task(instrument="simcam", raw=str(folder), exposures=ids(kind), detector=detector, **changes)


def valid(root, detector=0, mjd=FIRST_MJD):
    with reading(f"sqlite:///{root}/astra.db") as connection:
        return find_calibrations(connection, "simcam", detector, "sim-r", mjd)


def test_frames_become_calibrations_of_each_detector_that_are_right(calibration_frames, astra_root):
    for kind in ("bias", "dark", "flat"):
        assert build(
            make(kind, calibration_frames, (0, 1), require_calibrations={"flat": "bias,dark"}.get(kind, ""))
        )
    rows = valid(astra_root, 1)
    assert set(rows) == {"bias", "dark", "flat"}
    assert rows["flat"].physical_filter == "sim-r"
    assert rows["bias"].physical_filter == ""
    assert rows["dark"].checksum == checksum(rows["dark"].path)
    assert (rows["flat"].statistics["n_frames"], rows["flat"].begin_mjd_tai) == (6, None)
    dark = read_calibration(valid(astra_root)["dark"].path, "dark")
    good = np.ones(SHAPE, bool)
    good[HOT] = False
    assert np.mean(dark.image[good]) * dark.gain == pytest.approx(DARK_E_S, rel=0.02)
    assert dark.image[HOT] * dark.gain == pytest.approx(60.0, rel=0.05)
    flat = read_calibration(valid(astra_root)["flat"].path)
    expected = flat_field() / flat_field().mean()
    residual = ((flat.image - expected) / np.sqrt(flat.variance))[(flat.mask & MASK_BAD == 0) & good]
    assert np.std(residual) == pytest.approx(1.0, abs=0.03)


def test_defects_are_found_in_what_was_combined(calibration_frames, astra_root):
    for kind in ("bias", "dark", "flat"):
        assert build(make(kind, calibration_frames))
    # Defects of all filters come from the bias and dark alone.
    task = BuildDefects(instrument="simcam", detector=0, physical_filter="sim-r", valid_begin="2026-11-01")
    assert build(task)
    defects = read_defects(task.path)
    assert np.argwhere(defects.mask).tolist() == [list(HOT), list(INSENSITIVE)]
    row = valid(astra_root, mjd=61400.0)["defects"]
    assert (row.begin_mjd_tai, row.statistics["n_hot"], row.statistics["n_low_response"]) == (61345.0, 1, 1)
    assert "defects" not in valid(astra_root, mjd=61344.9)
    assert not build(BuildDefects(instrument="simcam", detector=1))


def test_photon_transfer_measures_the_simulated_amplifiers(calibration_frames, astra_root):
    task = MeasurePhotonTransfer(
        instrument="simcam", raw=str(calibration_frames), exposures=ids("flat"), detector=(0, 1)
    )
    assert build(task)
    for detector in (0, 1):
        row = valid(astra_root, detector)["photon_transfer"]
        for index, response in enumerate(read_responses(row.path).values()):
            assert response.gain == pytest.approx(GAINS[detector][index], rel=0.02)
            assert response.read_noise == pytest.approx(READ_NOISES[detector][index], rel=0.03)
        assert row.statistics["n_pairs"] == 5


def test_what_is_not_ingested_or_required_is_named(calibration_frames, astra_root):
    task = CombineBias(instrument="simcam", exposures="1^2^3", detector=0)
    with pytest.raises(
        MissingDataError, match="exposure 1 of detector 0 of simcam is not ingested, nor are 2"
    ):
        task.frames()
    assert not build(make("dark", calibration_frames, require_calibrations="bias"))
    assert valid(astra_root) == {}
    assert not build(make("bias", calibration_frames, valid_begin="2026-11-02", valid_end="2026-11-01"))
    assert valid(astra_root) == {}


@pytest.mark.parametrize(
    ("text", "mjd"),
    [("", None), ("61345.5", 61345.5), ("2026-11-01", 61345.0), ("2026-11-01T12:00:00", 61345.5)],
)
def test_dates_are_read(text, mjd):
    assert read_mjd_tai(text) == mjd


def test_what_is_no_date_is_named():
    with pytest.raises(ConfigError, match=r"a date is given as .* found 'tomorrow'"):
        read_mjd_tai("tomorrow")


def process(night, **changes):
    parameters = night.parameters(night.pairs[:1])
    names = ("instrument", "raw", "reference_catalog")
    visit, detector = night.pairs[0]
    return ProcessCcd(**{name: parameters[name] for name in names}, visit=visit, detector=detector, **changes)


def test_calibrations_that_are_valid_are_used_named_and_looked_after(night, calibration_frames, astra_root):
    task = process(night)
    assert build(task)
    cards = read_exposure_metadata(task.path("calexp"))
    assert (cards["ISRBIAS"], cards["ISRFLAT"]) == (False, False)
    assert task.complete()

    _, detector = night.pairs[0]
    flat = make("flat", calibration_frames, detector)
    bias = make("bias", calibration_frames, detector, valid_begin="2026-11-01")
    assert build(bias)
    assert build(flat)
    assert not task.complete()  # it has read no calibration, and now there are some
    assert build(task)
    cards = read_exposure_metadata(task.path("calexp"))
    assert (cards["ISRBIAS"], cards["ISRFLAT"], cards["ISRDARK"]) == (True, True, False)
    assert cards["FLATFILE"] == "flat.fits"
    assert cards["FLATSUM"] == checksum(flat.path)[:32]
    assert task.complete()

    before = attempts(astra_root)["ProcessCcd"]
    assert build(make("flat", calibration_frames, detector, options="clip_sigma=3.5"))
    assert not task.complete()  # one made since takes the place of the other
    assert build(task)
    assert attempts(astra_root)["ProcessCcd"] == before + 1
    assert set(states(astra_root, "ProcessCcd").values()) == {"done"}


def test_a_calibration_that_is_required_must_be_there(night, astra_root):
    task = process(night, require_calibrations="flat,bias")
    assert not build(task)
    connection = sqlite3.connect(astra_root / "astra.db")
    [(message,)] = connection.execute(
        "SELECT message FROM task_attempt WHERE error_class LIKE '%MissingDataError'"
    ).fetchall()
    connection.close()
    assert "no flat and no bias is valid for visit" in message
    assert not build(process(night, require_calibrations="flats"))


def test_options_of_the_signature_removal_reach_the_frame(night, astra_root):
    task = process(night, isr="overscan_fit.method=median,edge_pixel=4")
    assert build(task)
    cards = read_exposure_metadata(task.path("calexp"))
    assert cards["OVERSCAN"] == "median"
