import pytest

from astra.errors import ConfigError, FormatError
from astra.products.night_lists import (
    NightFile,
    last_night,
    read_night_list,
    read_night_table,
    scan_stars,
    scan_tree,
    spectra_of_night,
    stars_of_night,
    visits_of_night,
    visits_of_stars,
    write_night_list,
)
from astra.products.sdss_paths import SdssPath
from tests.products.synthetic_spectra import write_ap_star
from tests.products.synthetic_surveys import write_all_star, write_all_visit, write_sp_all

VISITS = [
    {"obj": "2MA", "mjd": 59001, "fiber": 7, "plate": "15000"},
    {"obj": "2MA", "mjd": 59003, "fiber": 8, "plate": "15000"},
    {"obj": "2MB", "mjd": 59001, "fiber": 9, "plate": "abc"},
    {"obj": "2MC", "mjd": 59000, "fiber": 10, "telescope": "lco25m"},
    {"obj": "2MC", "mjd": 59001, "fiber": 11, "telescope": "lco25m", "field": "13031"},
]


@pytest.fixture
def summaries(tmp_path):
    visits = write_all_visit(tmp_path / "allVisit.fits", VISITS)
    stars = write_all_star(
        tmp_path / "allStar.fits",
        [{"obj": "2MB", "mjdend": 59001}, {"obj": "2MX", "mjdend": 59001, "ngoodrvs": 0}, {"mjdend": 59003}],
    )
    spectra = write_sp_all(
        tmp_path / "spAll.fits",
        [
            {"catalogid": 2**40, "mjd": 59001},
            {"catalogid": 5, "mjd": 59001, "firstcarton": "bhm_rm", "field": 15144},
            {"catalogid": 6, "mjd": 59002},
        ],
    )
    return {"visits": visits, "stars": stars, "spectra": spectra}


def test_visits_of_a_night_have_the_keys_of_their_files(summaries):
    found = visits_of_night(summaries.values(), 59001)
    assert [row["obj"] for row in found] == ["2MA", "2MB", "2MC"]
    assert found[1] == {
        "fiber": 9,
        "plate": "abc",
        "mjd": 59001,
        "telescope": "apo25m",
        "field": "13030",
        "apred": "1.3",
        "obj": "2MB",
        "healpix": 12345,
    }
    tree = SdssPath("sdss5", "/sas")
    assert tree.full("apVisit", **found[0]).endswith("15000/59001/apVisit-1.3-apo25m-15000-59001-007.fits")
    assert visits_of_night(summaries.values(), 58000) == []


def test_stars_of_a_night_are_those_whose_last_visit_is_in_it(summaries):
    assert stars_of_night(summaries.values(), 59001) == [
        {"apred": "1.3", "healpix": 12345, "telescope": "apo25m", "obj": "2MB", "apstar": "stars"}
    ]
    by_visits = stars_of_night([summaries["visits"]], 59001)
    # The star of two fields has two files: the one that was last seen in this night counts.
    assert [(row["obj"], row["field"]) for row in by_visits] == [("2MB", "13030"), ("2MC", "13031")]
    assert [row["obj"] for row in stars_of_night([summaries["visits"]], 59003)] == ["2MA"]
    assert stars_of_night([summaries["visits"]], 58000) == []


def test_visits_of_stars_end_with_the_night(summaries):
    found = visits_of_stars([summaries["visits"]], ["2MA", "2MC"], 59001)
    assert [(row["obj"], row["mjd"]) for row in found] == [("2MA", 59001), ("2MC", 59000), ("2MC", 59001)]
    assert visits_of_stars([summaries["visits"]], [], 59001) == []


def test_boss_spectra_are_chosen_by_night_field_and_programme(summaries):
    paths = [summaries["spectra"]]
    assert spectra_of_night(paths, 59001)[0] == {
        "catalogid": 2**40,
        "mjd": 59001,
        "plate": "15143",
        "run2d": "v6_1_3",
    }
    assert [row["catalogid"] for row in spectra_of_night(paths, 59001, milky_way=True)] == [2**40]
    assert [row["catalogid"] for row in spectra_of_night(paths, 59001, plate=15144)] == [5]
    assert spectra_of_night(paths, 59001, run2d="v6_2_1") == []


def test_table_names_files_by_path_or_keys(tmp_path):
    path = tmp_path / "night.csv"
    path.write_text(
        "product,path,mjd,obj,fiber,plate,field,apred,telescope\n"
        "apVisit,/a/b.fits,59001,2MA,,,,,\n"
        "apVisit,,59001,,7,15000,13030,1.3,apo25m\n"
        "spec,c.fits,59000,,,,,,\n"
        "spec,later.fits,59002,,,,,,\n"
    )
    found = read_night_table(path, 59001, lambda release: SdssPath(release or "sdss5", "/sas"))
    assert found[0] == NightFile("apVisit", "/a/b.fits", 59001, "2MA")
    assert found[1].path.endswith("13030/15000/59001/apVisit-1.3-apo25m-15000-59001-007.fits")
    assert [file.path for file in found[2:]] == ["c.fits"]


def test_table_without_nights_is_of_the_night_and_faults_are_named(tmp_path):
    path = tmp_path / "night.csv"
    path.write_text("path\na.fits\n")

    def tree_of(release):
        return SdssPath(release or "sdss5", "/sas")

    assert read_night_table(path, 59001, tree_of) == [NightFile("apVisit", "a.fits", 59001)]
    path.write_text("path,mjd\na.fits,tonight\n")
    with pytest.raises(FormatError, match="row 1 must have a whole number as mjd, found 'tonight'"):
        read_night_table(path, 59001, tree_of)
    path.write_text("plate\n15000\n")
    with pytest.raises(ConfigError, match="keys are missing"):
        read_night_table(path, 59001, tree_of)


def test_list_is_read_back(tmp_path):
    files = [NightFile("apVisit", 'a,"b".fits', 59001, "2M+1"), NightFile("spec", "c.fits", 59001)]
    write_night_list(tmp_path / "list.csv", files)
    assert read_night_list(tmp_path / "list.csv") == files
    tree = SdssPath("sdss5", "/sas")
    assert read_night_table(tmp_path / "list.csv", 59001, lambda _: tree) == files
    write_night_list(tmp_path / "none.csv", [])
    assert read_night_list(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("release", "product", "keys"),
    [
        (
            "sdss5",
            "apVisit",
            {"apred": "1.3", "telescope": "apo25m", "field": "1[3]", "plate": "15000", "fiber": 7},
        ),
        (
            "dr17",
            "apVisit",
            {"apred": "dr17", "telescope": "lco25m", "field": "000+14", "plate": "8000", "fiber": 4},
        ),
        ("dr20", "specLite", {"run2d": "v6_2_1", "fieldid": "15143", "catalogid": 4544940698}),
        ("dr17", "spec", {"run2d": "26", "plateid": 266, "fiberid": 1}),
    ],
)
def test_tree_gives_the_keys_of_its_files(tmp_path, release, product, keys):
    tree = SdssPath(release, tmp_path / "[sas]")
    for mjd, ending in ((59001, ""), (59001, ".gz"), (59002, "")):
        place = tmp_path / "[sas]" / (tree.location(product, mjd=mjd, **keys) + ending)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
    known = {name: keys[name] for name in ("apred", "telescope", "run2d") if name in keys}
    [found] = {tuple(sorted(row.items())) for row in scan_tree(tree, product, mjd=59001, **known)}
    assert {**dict(found), **keys, "mjd": 59001} == dict(found)
    assert tree.location(product, **dict(found)) == tree.location(product, mjd=59001, **keys)


def test_stars_of_the_tree_are_dated_by_their_headers(tmp_path):
    tree = SdssPath("sdss5", tmp_path)
    keys = {"apred": "1.3", "telescope": "apo25m", "healpix": 12345}
    for obj, night in (("2MA", 59001), ("2MB", 59002), ("2MC", 59001)):
        path = tmp_path / tree.location("apStar", obj=obj, **keys)
        path.parent.mkdir(parents=True, exist_ok=True)
        names = {f"SFILE{i}": f"apVisit-1.3-apo25m-15000-{night + i - 2}-007.fits" for i in (1, 2)}
        write_ap_star(path, n_visits=2, n_pixels=200, **names)
    found = scan_stars(tree, 59001, {"2MA", "2MB"}, apred="1.3", telescope="apo25m")
    assert [(row["obj"], row["healpix"]) for row in found] == [("2MA", 12345)]
    assert last_night({"SFILE1": "apVisit-r6-6561-56587-131.fits", "SFILE2": "odd"}) == 56587
    assert last_night({}) == 0
