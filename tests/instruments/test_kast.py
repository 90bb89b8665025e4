import itertools

import pytest

from astra.images.photon_transfer import measure_photon_transfer
from astra.instruments.registry import get_instrument

KAST = get_instrument("kast")


@pytest.fixture(scope="module")
def kast_folder(shared_data):
    return shared_data / "raw_ccd" / "kast_blue"


def test_real_frames_are_told_apart_by_their_lamps(kast_folder):
    frames = [KAST.read_frames(path)[0] for path in KAST.find_raws(kast_folder)]
    types = {frame.seq_num: frame.observation_type for frame in frames}
    assert types == {1003: "arc", 1064: "science", **dict.fromkeys(range(1020, 1025), "flat")}
    science = frames[-1]
    assert (science.target_name, science.day_obs, science.exposure) == ("2018gdg", 20180914, 2018091401064)
    assert science.tracking_ra == pytest.approx((30 / 60 + 24.62 / 3600) * 15)
    assert science.tracking_dec == pytest.approx(-(1 + 15 / 60 + 50.8 / 3600))
    assert science.exposure_time_s == 1845.0
    assert (science.end_mjd_tai - science.begin_mjd_tai) * 86400 == pytest.approx(1845.03, abs=0.01)
    assert science.corners is None


def test_gain_and_noise_are_those_of_photon_transfer_on_real_flats_and_not_of_the_header(kast_folder):
    flats = [KAST.read_raw(kast_folder / f"b{number}.fits.gz") for number in range(1020, 1025)]
    measured = measure_photon_transfer(list(itertools.pairwise(flats)))
    for amplifier in flats[0].amplifiers:
        response = measured[amplifier.name].response
        assert amplifier.gain == pytest.approx(response.gain, rel=0.05)
        assert amplifier.read_noise == pytest.approx(response.read_noise, rel=0.05)
        assert response.gain == pytest.approx(1.23, rel=0.05)
        assert response.read_noise == pytest.approx(3.6, rel=0.05)
