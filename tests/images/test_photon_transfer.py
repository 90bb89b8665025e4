import dataclasses
import itertools
import warnings

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import AlgorithmError, DataError
from astra.images.amplifier import Amplifier
from astra.images.calibration import Calibrations
from astra.images.exposure import VisitInfo
from astra.images.flat_pairs import pair_flats
from astra.images.isr import correct_raw, remove_signature
from astra.images.photon_transfer import measure_gain, measure_photon_transfer
from astra.images.raw_image import RawImage

GAINS, NOISES = (1.6, 0.9), (5.0, 8.0)
FULL_ADU = 40000.0


def make_amplifiers(is_dead=False):
    rows = slice(0, 300)
    return tuple(
        Amplifier(
            f"A{k}",
            (rows, slice(232 * k, 232 * k + 200)),
            (rows, slice(232 * k + 200, 232 * k + 232)),
            (rows, slice(200 * k, 200 * k + 200)),
            1.0,  # the gain that the header tells is wrong
            5.0,
            65000.0,
            is_dead=is_dead and k == 1,
        )
        for k in (0, 1)
    )


def make_flat(rng, electrons, seed_pattern=1, is_dead=False):
    pattern = np.random.default_rng(seed_pattern).normal(1.0, 0.01, size=(300, 200))
    raw = np.empty((300, 464))
    for k, amplifier in enumerate(make_amplifiers()):
        block = raw[:, 232 * k : 232 * k + 232]
        block[:] = 1000.0 + rng.normal(0.0, NOISES[k] / GAINS[k], block.shape)
        caught = rng.poisson(electrons * pattern) / GAINS[k]
        # Beyond the full well charge is shared, and the noise goes.
        full = caught > FULL_ADU
        caught[full] = FULL_ADU + 0.01 * (caught[full] - FULL_ADU)
        raw[amplifier.data] += caught
    info = VisitInfo("simcam", 1, 0, "r", "r", 61000.0, 10.0)
    return RawImage(np.rint(np.clip(raw, 0, 65535)).astype(np.uint16), make_amplifiers(is_dead), info)


def ramp(levels, **options):
    rng = np.random.default_rng(8)
    return [(make_flat(rng, level, **options), make_flat(rng, level, **options)) for level in levels]


def test_gain_and_read_noise_come_from_one_level_of_flats():
    found = measure_photon_transfer(ramp([20000.0]))
    for name, gain, noise in zip(("A0", "A1"), GAINS, NOISES, strict=True):
        assert found[name].response.gain == pytest.approx(gain, abs=4 * found[name].response.gain_err)
        assert found[name].response.gain == pytest.approx(gain, rel=0.02)
        assert found[name].response.read_noise == pytest.approx(noise, rel=0.03)
        assert np.isnan(found[name].response.turnoff_adu)


def test_a_ramp_of_flats_gives_the_full_well_and_the_gain_below_it():
    found = measure_photon_transfer(ramp([500.0, 3000.0, 15000.0, 30000.0, 45000.0]))
    assert found["A0"].response.gain == pytest.approx(GAINS[0], rel=0.01)
    assert np.isnan(found["A0"].response.turnoff_adu)
    assert found["A1"].response.gain == pytest.approx(GAINS[1], rel=0.01)
    assert 0.8 * FULL_ADU < found["A1"].response.turnoff_adu < 1.1 * FULL_ADU
    assert not found["A1"].used[found["A1"].signal_adu >= found["A1"].response.turnoff_adu].any()


def test_independent_pixels_have_no_covariance():
    covariance = measure_photon_transfer(ramp([20000.0]))["A0"].covariance
    assert set(covariance) == {(0, 1), (1, 0), (1, 1)}
    assert max(map(abs, covariance.values())) < 5.0 / np.sqrt(300 * 200)


def test_charge_that_spreads_shows_as_covariance_and_as_a_curve():
    rng = np.random.default_rng(3)
    pairs = []
    for level in (2000.0, 10000.0, 20000.0, 30000.0):
        flats = []
        for _ in range(2):
            flat = make_flat(rng, level)
            pixels = flat.pixels.astype(np.float32)
            place = flat.amplifiers[0].data
            signal = pixels[place] - 1000.0
            share = 2e-6 * signal[:, :-1]  # of the difference to the right neighbour flows
            flow = share * (signal[:, :-1] - signal[:, 1:])
            signal[:, :-1] -= flow
            signal[:, 1:] += flow
            pixels[place] = signal + 1000.0
            flats.append(dataclasses.replace(flat, pixels=pixels))
        pairs.append(tuple(flats))
    found = measure_photon_transfer(pairs, is_curved=True)["A0"]
    assert found.covariance[0, 1] > 0.02
    assert abs(found.covariance[1, 0]) < 0.02
    assert found.brighter_fatter < 0
    assert found.response.gain == pytest.approx(GAINS[0], rel=0.02)


def test_a_dead_amplifier_has_no_response():
    assert list(measure_photon_transfer(ramp([9000.0], is_dead=True))) == ["A0"]


def test_flats_of_equal_level_and_time_that_follow_each_other_make_pairs():
    rng = np.random.default_rng(8)
    frames = [make_flat(rng, level) for level in (5000.0, 5100.0, 9000.0, 9000.0, 9000.0)]
    longer = dataclasses.replace(frames[4], info=dataclasses.replace(frames[4].info, exposure_time_s=20.0))
    frames[4] = longer
    found = pair_flats([lambda frame=frame: frame for frame in frames])
    assert [tuple([id(frame) for frame in frames].index(id(read())) for read in pair) for pair in found] == [
        (0, 1),
        (2, 3),
    ]
    assert pair_flats([]) == []


def test_nothing_to_measure_is_an_error():
    with pytest.raises(DataError, match="needs a pair"):
        measure_photon_transfer([])
    with pytest.raises(AlgorithmError, match="amplifier A0: the flats have no signal"):
        measure_photon_transfer(ramp([0.0]))


def test_gain_of_simulated_flats_is_recovered():
    rng = np.random.default_rng(2)
    illumination = np.linspace(500.0, 20000.0, 300)[None] * (1 + 0.01 * rng.normal(size=(200, 300)))
    flats = [
        (rng.poisson(illumination * 1.7) / 1.7 * scale + rng.normal(0, 4.0, size=illumination.shape))
        for scale in (1.0, 1.0)
    ]
    assert measure_gain(*flats, noise_adu=4.0) == pytest.approx(1.7, rel=0.01)


def test_flats_without_light_or_of_other_shape_have_no_gain():
    dark = np.random.default_rng(1).normal(0.1, 4.0, size=(50, 50))
    with pytest.raises(AlgorithmError, match="no signal above the read noise"):
        measure_gain(dark, dark, noise_adu=40.0)
    with pytest.raises(ValueError, match="one shape"):
        measure_gain(dark, dark[1:], noise_adu=4.0)


@pytest.fixture(scope="module")
def kast_flats(shared_data):
    folder = shared_data / "raw_ccd" / "kast_blue"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [fits.getdata(folder / f"b{number}.fits.gz") for number in range(1020, 1025)]


def kast_amplifiers():
    rows = slice(0, 350)
    return [
        Amplifier(
            "1", (rows, slice(0, 1024)), (rows, slice(2052, 2080)), (rows, slice(0, 1024)), 1.225, 3.64, 65535
        ),
        Amplifier(
            "2",
            (rows, slice(1024, 2048)),
            (rows, slice(2083, 2111)),
            (rows, slice(1024, 2048)),
            1.259,
            3.58,
            65535,
        ),
    ]


def kast_pairs(flats):
    info = VisitInfo("kast", 1, 0, "g", "d55", 55000.0, 10.0)
    raws = [RawImage(flat, tuple(kast_amplifiers()), info) for flat in flats]
    return list(itertools.pairwise(raws))


def test_photon_transfer_on_real_flats_gives_the_known_gain_and_read_noise(kast_flats):
    found = measure_photon_transfer(kast_pairs(kast_flats))
    for amplifier in kast_amplifiers():
        response = found[amplifier.name].response
        assert response.gain == pytest.approx(amplifier.gain, rel=0.05)
        assert response.read_noise == pytest.approx(amplifier.read_noise, rel=0.05)
        assert response.gain == pytest.approx(1.23, rel=0.05)
        assert response.read_noise == pytest.approx(3.6, rel=0.05)


def test_amplifiers_of_real_flats_join_in_electrons(kast_flats):
    found = measure_photon_transfer(kast_pairs(kast_flats))
    responses = {name: transfer.response for name, transfer in found.items()}
    steps = {}
    for name, calibrations in (("nominal", None), ("measured", Calibrations(responses=responses))):
        frames = [correct_raw(raw, calibrations).image for raw, _ in kast_pairs(kast_flats)]
        image = np.mean(frames, axis=0)[100:250]
        columns = np.arange(1024 - 40, 1024 + 40)
        rows = np.median(image[:, columns], axis=0)
        left, right = (
            np.polyval(np.polyfit(columns[part], rows[part], 1), 1023.5)
            for part in (slice(0, 40), slice(40, 80))
        )
        steps[name] = right / left - 1.0
    assert abs(steps["measured"]) < 0.01


def test_predicted_variance_is_the_scatter_between_real_flats(kast_flats):
    first, second = (remove_signature(flat, kast_amplifiers()) for flat in kast_flats[:2])
    ratio = np.median(second.image[100:250, 600:2000] / first.image[100:250, 600:2000])
    pull = (second.image - ratio * first.image) / np.sqrt(second.variance + ratio**2 * first.variance)
    core = pull[100:250, 600:2000]
    assert 1.4826 * np.median(np.abs(core - np.median(core))) == pytest.approx(1.0, abs=0.05)
