import sqlite3
from collections import Counter

import luigi
import pytest
from astropy.table import Table

from astra.database.engine import reading
from astra.database.spectra import read_spectrum_rows
from astra.products.spectra import read_ap_star
from astra.tasks.spectra.combine_visits import CombineVisits
from astra.tasks.spectra.night import AnalyseNight, NightStep
from astra.tasks.spectra.night_list import SPECTRA, STARS, ListNight
from tests.tasks.spectral_night import APRED, MJD, RUN2D, SpectralNight, write_night_models

VISIT_FAMILIES = ("SignalToNoise", "ContinuumNormalize", "BarycentricCorrection", "RadialVelocity")
STAR_FAMILIES = ("CombineVisits", "MeasureLines", "TheCannon")
N_STARS = 4


@pytest.fixture
def night(astra_root, monkeypatch):
    monkeypatch.setenv("SAS_BASE_DIR", str(astra_root / "sas"))
    return SpectralNight(astra_root / "sas", n_stars=N_STARS, distinct=N_STARS)


@pytest.fixture
def models(astra_root):
    return write_night_models(astra_root / "models")


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="CRITICAL", no_lock=True)


def attempts(root):
    """Count attempts at members by family and status."""
    query = (
        "SELECT family, task_attempt.status_code FROM task_attempt JOIN task ON task.pk = task_pk "
        "WHERE batch_size IS NULL AND family NOT LIKE '%Night%' AND family != 'ExportResults' "
        "AND family != 'NightStep'"
    )
    with sqlite3.connect(root / "astra.db") as connection:
        return Counter(connection.execute(query).fetchall())


def rows(root, table):
    with reading(f"sqlite:///{root / 'astra.db'}") as connection:
        return read_spectrum_rows(connection, table)[0]


def test_night_is_analysed_whole_and_a_second_run_does_nothing(night, models, astra_root):
    task = AnalyseNight(mjd=MJD, apred=APRED, run2d=RUN2D, chunk_files=3, **models)
    assert build(task)
    done = attempts(astra_root)
    n_visits, n_spectra = N_STARS, N_STARS + 2
    expected = {
        "SignalToNoise": n_spectra,
        "ContinuumNormalize": n_spectra,
        "BarycentricCorrection": n_visits,
    }
    expected |= {"RadialVelocity": n_visits, "CombineVisits": N_STARS, "TheCannon": N_STARS}
    expected |= {"MeasureLines": N_STARS + 2}
    assert done == {(family, 1): n for family, n in expected.items()}
    assert build(AnalyseNight(mjd=MJD, apred=APRED, run2d=RUN2D, chunk_files=4, **models))
    assert attempts(astra_root) == done

    velocities = {row["path"]: row["v_rad"] for row in rows(astra_root, "radial_velocity")}
    for number, visit in enumerate(night.visits):
        found = next(v for path, v in velocities.items() if path == str(night.visit_path(visit)))
        # The files are made for a correction of -8 km/s; here is what it is.
        bc = next(
            row["bc"]
            for row in rows(astra_root, "barycentric_correction")
            if row["path"].endswith(night.visit_path(visit).name)
        )
        assert found - bc == pytest.approx(-30.0 + 10.0 * number + 8.0, abs=1.0)
    n_visits_of = {
        row["path"]: row["n_visits"] for row in rows(astra_root, "combined_visit") if row["row_index"] == 0
    }
    assert sorted(n_visits_of.values()) == [1] * (N_STARS - 2) + [2, 2]
    labels = [row["value"] for row in rows(astra_root, "stellar_label") if row["row_index"] == 0]
    assert labels == pytest.approx([0.0] * N_STARS, abs=0.3)
    exported = Table.read(astra_root / "products" / "0.1" / "ExportResults" / "radial_velocity.fits")
    assert len(exported) == N_STARS


def test_missing_and_broken_files_stop_nothing_else(night, models, astra_root):
    missing, broken = night.visit_path(night.visits[0]), night.visit_path(night.visits[2])
    content, whole = missing.read_bytes(), broken.read_bytes()
    missing.unlink()
    broken.write_bytes(whole[: len(whole) // 2 + 100])
    task = AnalyseNight(mjd=MJD, apred=APRED, chunk_files=2, **models)
    assert not build(task)
    found = attempts(astra_root)
    for family in VISIT_FAMILIES:
        assert found[family, 60] == 1
        assert found[family, 30] == 1
        assert found[family, 1] == N_STARS - 2
    # The first star has an earlier visit, so that it has a sum; that of the broken visit has none.
    assert (found["CombineVisits", 1], found["CombineVisits", 30]) == (N_STARS - 1, 1)
    assert found["TheCannon", 60] == 1
    # One that is broken has a row too, whose flags say so.
    assert sorted(row["flags"] > 0 for row in rows(astra_root, "signal_to_noise")) == [False, False, True]

    missing.write_bytes(content)
    broken.write_bytes(whole)
    assert build(AnalyseNight(mjd=MJD, apred=APRED, chunk_files=2, **models))
    again = attempts(astra_root)
    for family in VISIT_FAMILIES:
        assert again[family, 1] == N_STARS
    assert again["CombineVisits", 1] == N_STARS + 1  # the first star once more, of both visits


def test_part_in_which_everything_fails_does_not_stop_the_night(night, astra_root):
    for visit in night.visits:
        night.visit_path(visit).write_bytes(b"no FITS file")
    assert not build(AnalyseNight(mjd=MJD, apred=APRED, chunk_files=1))
    found = attempts(astra_root)
    assert found["SignalToNoise", 30] == N_STARS
    assert found["CombineVisits", 30] == N_STARS


def test_night_by_manifest_takes_the_names_of_stars_from_the_files(night, astra_root):
    table = astra_root / "night.csv"
    paths = [night.visit_path(row) for row in [*night.visits[:2], *night.earlier]]
    mjds = [MJD, MJD, MJD - 20, MJD - 20]
    table.write_text("path,mjd\n" + "".join(f"{path},{mjd}\n" for path, mjd in zip(paths, mjds, strict=True)))
    listing = ListNight(mjd=MJD, manifest=str(table))
    assert build(listing)
    stars = dict(listing.units(STARS))
    assert {obj: len(files) for obj, files in stars.items()} == {row["obj"]: 2 for row in night.visits[:2]}
    assert [path for path, _ in listing.units(SPECTRA)] == sorted(map(str, paths[:2]))
    assert build(AnalyseNight(mjd=MJD, manifest=str(table)))
    found = attempts(astra_root)
    assert found["CombineVisits", 1] == found["SignalToNoise", 1] == 2
    for path in {row["path"] for row in rows(astra_root, "combined_visit")}:
        assert read_ap_star(path).n_rows == 4


def test_night_by_the_tree_knows_what_is_there(night, astra_root):
    assert build(AnalyseNight(mjd=MJD, apred=APRED, telescope="apo25m", scan=True))
    assert attempts(astra_root)["CombineVisits", 1] == N_STARS


def test_new_visit_is_analysed_alone(night, astra_root):
    hidden = night.visit_path(night.visits[3])
    content = hidden.read_bytes()
    hidden.unlink()
    task = {"mjd": MJD, "apred": APRED, "telescope": "apo25m", "scan": True}
    assert build(AnalyseNight(**task))
    before = attempts(astra_root)
    hidden.write_bytes(content)
    assert build(AnalyseNight(**task))
    assert attempts(astra_root) - before == dict.fromkeys(
        [("SignalToNoise", 1), ("ContinuumNormalize", 1), ("BarycentricCorrection", 1), ("CombineVisits", 1)],
        1,
    )


def test_parts_hold_every_member_once_whatever_their_number(night, astra_root):
    listing = ListNight(mjd=MJD, apred=APRED, run2d=RUN2D)
    assert listing.units(SPECTRA) == ()
    assert build(listing)
    names = sorted(name for name, _ in listing.units(SPECTRA))
    assert len(names) == N_STARS + 2
    for n_parts in (1, 3, 20):
        parts = [listing.part(SPECTRA, chunk, n_parts) for chunk in range(n_parts)]
        assert sorted(name for part in parts for name, _ in part) == names
    step = NightStep(mjd=MJD, apred=APRED, run2d=RUN2D, kind=STARS, chunk=0, n_parts=1)
    assert [type(batch) for batch in step.batches()] == [CombineVisits]
    assert not step.complete()


def test_empty_night_is_done(night, astra_root):
    assert build(AnalyseNight(mjd=MJD + 1, apred=APRED, run2d=RUN2D))
