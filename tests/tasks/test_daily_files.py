import luigi
import pytest

from astra.errors import ConfigError, FormatError, MissingDataError
from astra.tasks.io import sdss5
from astra.tasks.spectra.daily import (
    GetDailyApStarFiles,
    GetDailyApVisitFiles,
    GetDailyReducedDataProducts,
    GetDailySpecFiles,
    get_bhm_mwm_visits,
    get_spectra,
    get_stars,
    get_visits,
    get_visits_given_star,
)
from tests.tasks.spectral_night import APRED, MJD, RUN2D, SpectralNight


@pytest.fixture
def night(astra_root, monkeypatch):
    monkeypatch.setenv("SAS_BASE_DIR", str(astra_root / "sas"))
    return SpectralNight(astra_root / "sas", n_stars=3, distinct=1)


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", no_lock=True)


@pytest.mark.parametrize("scan", [False, True])
def test_visits_of_a_night_have_the_keys_of_the_task_api(night, scan):
    found = get_visits(MJD, apred=APRED, scan=scan)
    assert [set(row) for row in found] == [{"fiber", "plate", "mjd", "telescope", "field", "apred"}] * 3
    assert [sdss5.ApVisitFile(**row).local_path for row in found] == [
        str(night.visit_path(row)) for row in night.visits
    ]
    assert get_visits(MJD - 1, apred=APRED, scan=scan) == []


def test_stars_and_visits_of_a_star_are_found(night):
    stars = get_stars(MJD, apred=APRED)
    assert [row["obj"] for row in stars] == [row["obj"] for row in night.visits]
    assert set(stars[0]) == {"apred", "healpix", "telescope", "obj", "apstar"}
    sdss5.ApStarFile(**stars[0])
    found = get_visits_given_star(night.visits[0]["obj"], APRED)
    assert [row["mjd"] for row in found] == [MJD - 20, MJD]


def test_boss_spectra_of_a_night_are_found(night):
    for rows in (get_spectra(MJD, run2d=RUN2D), get_bhm_mwm_visits(MJD, 15143, RUN2D)):
        assert [row["catalogid"] for row in rows] == [4544940698, 4544940699]
        sdss5.SpecFile(**rows[0])
    assert get_bhm_mwm_visits(MJD, 1, RUN2D) == []


def test_what_is_not_named_or_not_there_is_said(night, astra_root):
    with pytest.raises(ConfigError, match="needs apred or run2d"):
        get_visits(MJD)
    with pytest.raises(
        MissingDataError, match=r"allVisit-9\.9-apo25m\.fits does not exist; the survey has it at"
    ):
        get_visits(MJD, apred="9.9")
    with pytest.raises(FormatError, match="is none of allVisit, allStar and spAll"):
        get_visits(MJD, summary=str(night.spec_path(night.spectra[0])))


def test_files_of_a_night_are_one_batch_of_each_kind(night):
    visits = GetDailyApVisitFiles(mjd=MJD, apred=APRED, use_remote=False)
    [batch] = visits.requires()
    assert (type(batch), batch.get_batch_size(), batch.use_remote) == (sdss5.ApVisitFile, 3, False)
    assert build(visits)
    assert visits.complete()
    spectra = GetDailySpecFiles(mjd=MJD, run2d=RUN2D, use_remote=False)
    assert build(spectra)
    night.spec_path(night.spectra[0]).unlink()
    assert not spectra.complete()
    everything = GetDailyReducedDataProducts(mjd=MJD, apred=APRED, run2d=RUN2D, use_remote=False)
    build(everything)
    assert not everything.complete()
    kinds = [type(needed) for needed in everything.requires()]
    assert kinds == [GetDailyApVisitFiles, GetDailyApStarFiles, GetDailySpecFiles]


def test_missing_file_of_a_night_has_its_own_state(night, astra_root):
    night.visit_path(night.visits[1]).unlink()
    task = GetDailyApVisitFiles(mjd=MJD, apred=APRED, use_remote=False)
    build(task)
    assert not task.complete()
    [batch] = task.requires()
    states = [member.query_state().one_or_none() for member in batch.get_batch_tasks()]
    assert [None if state is None else state.status_code for state in states] == [None, 60, None]


def test_night_without_files_is_done(night):
    assert build(GetDailyApVisitFiles(mjd=MJD - 5, apred=APRED, use_remote=False))


def test_table_takes_the_place_of_summary_files(night, astra_root):
    table = astra_root / "night.csv"
    lines = [f"apVisit,{night.visit_path(row)},{row['mjd']}" for row in [*night.visits[:2], *night.earlier]]
    table.write_text(
        "product,path,mjd\n" + "\n".join([*lines, f"spec,{astra_root / 'own.fits'},{MJD}"]) + "\n"
    )
    assert [row["fiber"] for row in get_visits(MJD, manifest=str(table))] == [1, 2]
    task = GetDailyApVisitFiles(mjd=MJD, manifest=str(table), use_remote=False)
    assert [needed.get_batch_size() for needed in task.requires()] == [2]
    assert build(task)
    [own] = GetDailySpecFiles(mjd=MJD, manifest=str(table), use_remote=False).requires()
    assert own.path == str(astra_root / "own.fits")
