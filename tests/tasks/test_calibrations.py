"""Calibrations of the simulated camera: from frames to files that hold for a time, and to their use."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astra.database.calibrations import find_calibrations
from astra.database.engine import reading
from astra.errors import ConfigError, MissingDataError
from astra.images.calibration import Crosstalk
from astra.images.exposure import MASK_BAD
from astra.images.isr import correct_raw
from astra.instruments import simcam
from astra.instruments.registry import get_instrument
from astra.products.atomic import checksum
from astra.products.calibrations import (
    CalibrationInfo,
    read_calibration,
    read_defects,
    read_responses,
    write_crosstalk,
    write_kernel,
)
from astra.products.exposures import read_exposure_metadata
from astra.simulation.calibration_frames import plan_calibrations, write_calibrations
from astra.simulation.headers import make_header
from astra.simulation.raw import GAINS, READ_NOISES, SATURATION_ADU, Shot, read_out
from astra.simulation.signature import make_signature
from astra.tasks.calibration_files import load_rows, read_mjd_tai
from astra.tasks.calibrations import (
    BuildDefects,
    CombineBias,
    CombineDark,
    CombineFlat,
    MeasurePhotonTransfer,
)
from astra.tasks.ingest_calibrations import IngestCalibrations
from astra.tasks.process_ccd import ProcessCcd
from tests.tasks.night import attempts, build, states

DAY, NOON_MJD = 20261101, 61345.5
SHOTS = plan_calibrations(DAY, "r", n_biases=5, n_darks=4, flat_times_s=(10.0, 15.0, 20.0))


def ids(kind):
    return "^".join(str(shot.visit) for shot in SHOTS if shot.observation_type == kind)


@pytest.fixture(scope="session")
def calibration_frames(tmp_path_factory):
    """Biases, darks and flats of two detectors."""
    folder = tmp_path_factory.mktemp("calibration-frames")
    write_calibrations(folder, 3, SHOTS, (0, 1))
    return folder


def amplifiers(detector):
    return simcam.make_amplifiers(GAINS[detector], READ_NOISES[detector], SATURATION_ADU)


def true_bias(detector):
    """Structure of the bias at the reference gain [adu]."""
    bias = make_signature(detector).bias_adu.copy()
    for amplifier in amplifiers(detector):
        bias[amplifier.assembled] *= amplifier.gain / simcam.REFERENCE_GAIN
    return bias


def make(kind, folder, detector=0, **changes):
    task = {"bias": CombineBias, "dark": CombineDark, "flat": CombineFlat}[kind]
    return task(instrument="simcam", raw=str(folder), exposures=ids(kind), detector=detector, **changes)


def valid(root, detector=0, mjd=NOON_MJD):
    with reading(f"sqlite:///{root}/astra.db") as connection:
        return find_calibrations(connection, "simcam", detector, "sim-r", mjd)


def pulls(found, truth, among=True):
    good = ((found.mask & MASK_BAD) == 0) & among
    return (found.image - truth)[good] / np.sqrt(found.variance[good])


def test_frames_become_calibrations_of_each_detector_that_are_right(calibration_frames, astra_root):
    for kind in ("bias", "dark", "flat"):
        needed = {"flat": "bias,dark"}.get(kind, "")
        assert build(make(kind, calibration_frames, (0, 1), require_calibrations=needed))
    rows = valid(astra_root, 1)
    assert set(rows) == {"bias", "dark", "flat"}
    assert rows["flat"].physical_filter == "sim-r"
    assert rows["bias"].physical_filter == ""
    assert rows["dark"].checksum == checksum(rows["dark"].path)
    assert (rows["flat"].statistics["n_frames"], rows["flat"].begin_mjd_tai) == (6, None)
    for detector in (0, 1):
        signature, rows = make_signature(detector), valid(astra_root, detector)
        bias = pulls(read_calibration(rows["bias"].path, "bias"), true_bias(detector))
        assert np.std(bias) == pytest.approx(1.0, abs=0.05)
        found = read_calibration(rows["dark"].path, "dark")
        quiet = signature.dark_rate < 1.0  # the pixels whose noise is known well
        dark = pulls(found, signature.dark_rate / simcam.REFERENCE_GAIN, quiet)
        assert abs(np.mean(dark)) < 0.1
        assert 1.4826 * np.median(np.abs(dark)) == pytest.approx(1.0, abs=0.05)
        found = read_calibration(rows["flat"].path, "flat")
        good = (found.mask & MASK_BAD) == 0
        flat = pulls(found, signature.response / signature.response[good].mean())
        assert 1.4826 * np.median(np.abs(flat)) == pytest.approx(1.0, abs=0.05)


def test_a_science_frame_is_flat_within_its_errors(calibration_frames, astra_root, tmp_path):
    for kind in ("bias", "dark", "flat"):
        assert build(make(kind, calibration_frames))
    light, rng = np.full((simcam.N_ROWS, simcam.N_COLUMNS), 8000.0), np.random.default_rng(1)
    shot = Shot(DAY, 1, "r", NOON_MJD, 60.0, 10.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 600.0, 1.0, 1.0)
    raw = read_out(rng, light, 0, signature=make_signature(0), dark_time_s=60.0)
    path = tmp_path / simcam.raw_name(DAY, 1, 0)
    fits.PrimaryHDU(raw, make_header(shot, 0)).writeto(path)
    known = load_rows(valid(astra_root))
    exposure = correct_raw(get_instrument("simcam").read_raw(path), known)
    good = exposure.mask == 0
    variance = exposure.variance + known.bias.variance + (exposure.image**2 * known.flat.variance)
    level = np.median(exposure.image[good])
    pull = ((exposure.image - level) / np.sqrt(variance))[good]
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.03)
    for amplifier in exposure.image[:256, :300], exposure.image[:256, 300:], exposure.image[256:, :300]:
        assert np.median(amplifier) == pytest.approx(level, rel=2e-3)


def test_defects_are_found_in_what_was_combined(calibration_frames, astra_root):
    for kind in ("bias", "dark", "flat"):
        assert build(make(kind, calibration_frames))
    task = BuildDefects(instrument="simcam", detector=0, physical_filter="sim-r", valid_begin="2026-11-01")
    assert build(task)
    defects, rate = read_defects(task.path), make_signature(0).dark_rate
    assert defects.mask[rate > 1.5].all()
    assert not defects.mask[rate < 0.7].any()
    row = valid(astra_root, mjd=61400.0)["defects"]
    assert (row.begin_mjd_tai, row.statistics["n_low_response"]) == (61345.0, 0)
    assert row.statistics["n_hot"] == np.count_nonzero(defects.mask) > 50
    assert "defects" not in valid(astra_root, mjd=61344.9)
    always = BuildDefects(instrument="simcam", detector=0)
    assert build(always)
    assert always.complete()
    assert not build(BuildDefects(instrument="simcam", detector=1))


def test_a_column_that_is_dead_in_one_amplifier_alone_is_bad_there(calibration_frames, astra_root, tmp_path):
    lower, upper = (simcam.amplifier_sections()[index] for index in (0, 2))
    column, n_dead = 57, 160  # of the 256 rows of the amplifier, and of 512
    for path in Path(calibration_frames).rglob("*_0.fits"):
        with fits.open(path) as hdus:
            rows, columns = lower.data.slices
            dead = lower.blind["overscan"].slices[1]
            pixels = hdus[0].data
            pixels[rows, columns][:n_dead, column] = np.median(pixels[rows, dead])
            hdus.writeto(tmp_path / path.name)
    assert build(make("flat", tmp_path))
    task = BuildDefects(instrument="simcam", detector=0, physical_filter="sim-r")
    assert build(task)
    bad = read_defects(task.path).mask
    first = lower.assembled.slices[1].start
    assert bad[lower.assembled.slices[0], first + column].all()
    assert bad[upper.assembled.slices[0], first + column].mean() < 0.1


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
        assert row.statistics["n_pairs"] == 3


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


def test_calibrations_made_elsewhere_are_taken_where_they_lie(astra_root, tmp_path):
    names = ("A1", "A2", "A3", "A4")
    info = CalibrationInfo("crosstalk", "simcam", 1)
    write_crosstalk(tmp_path / "x.fits", Crosstalk(names, 1e-4 * (1 - np.eye(4))), info)
    write_kernel(tmp_path / "k.fits", np.zeros((5, 5)), CalibrationInfo("brighter_fatter", "simcam", 0))
    write_kernel(tmp_path / "other.fits", np.zeros((5, 5)), CalibrationInfo("brighter_fatter", "nocam", 0))
    (tmp_path / "text.fits").write_text("nothing")
    paths = tuple(str(tmp_path / f"{name}.fits") for name in ("x", "k", "other", "text"))
    assert not build(IngestCalibrations(path=paths, valid_begin="2026-10-01"))
    assert {kind: row.path for kind, row in valid(astra_root, 1).items()} == {"crosstalk": paths[0]}
    assert load_rows(valid(astra_root, 1)).crosstalk.names == names
    assert set(valid(astra_root, 0)) == {"brighter_fatter"}
    assert valid(astra_root, 0, mjd=61313.0) == {}
    assert IngestCalibrations(path=paths[:2], valid_begin="2026-10-01").complete()


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
