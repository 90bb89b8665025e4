import pytest

from tests.tasks import killed_night
from tests.tasks.spectral_night import APRED, MJD, SpectralNight

N_SPECTRA, EVERY = 200, 10
SIZES = dict.fromkeys(("SignalToNoise", "ContinuumNormalize", "BarycentricCorrection"), N_SPECTRA)
SIZES["CombineVisits"] = N_SPECTRA // EVERY


@pytest.fixture
def arguments(astra_root, monkeypatch):
    monkeypatch.setenv("SAS_BASE_DIR", str(astra_root / "sas"))
    SpectralNight(astra_root / "sas", n_stars=N_SPECTRA, distinct=8, n_boss=0, n_pixels=256, every=EVERY)
    return ["--mjd", MJD, "--apred", APRED, "--telescope", "apo25m", "--chunk-files", 60]


def test_night_that_is_killed_half_way_is_resumed_and_does_nothing_twice(astra_root, arguments):
    total = sum(SIZES.values())
    process = killed_night.start_night(astra_root, arguments)
    killed_night.watch(process, astra_root, until=total // 2, interval_s=0.05)
    killed_night.kill_group(process)
    done = killed_night.count_done(astra_root)
    assert total // 2 <= done < total

    process = killed_night.start_night(astra_root, arguments)
    samples = killed_night.watch(process, astra_root)
    assert process.returncode == 0, (astra_root / "luigi.log").read_text()[-2000:]
    assert samples[0].done >= done
    assert killed_night.count_states(astra_root) == {(family, 1): n for family, n in SIZES.items()}
    assert killed_night.count_done_twice(astra_root) == 0
    # Some were at work, or done and not yet written, when all was killed: no more than a second's.
    attempts = killed_night.query(astra_root, "SELECT count(*) FROM task_attempt WHERE status_code = 40")
    assert attempts[0][0] <= N_SPECTRA
