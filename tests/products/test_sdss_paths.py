import os

import pytest

from astra.errors import ConfigError
from astra.products.sdss_path_functions import PATH_FUNCTIONS
from astra.products.sdss_path_tables import OPTIONAL_KEYS
from astra.products.sdss_paths import SdssPath, available_releases, release_of

GOLDEN = [
    (
        "sdss5",
        "apVisit",
        "apred=1.3 telescope=apo25m field=13030 plate=15000 mjd=59146 fiber=7",
        "sdsswork/mwm/apogee/spectro/redux/1.3/visit/apo25m/13030/15000/59146/apVisit-1.3-apo25m-15000-59146-007.fits",
    ),
    (
        "ipl1",
        "apVisit",
        "apred=1.3 telescope=apo25m field=13030 plate=15000 mjd=59146 fiber=7",
        "ipl-1/spectro/apogee/redux/1.3/visit/apo25m/13030/15000/59146/apVisit-1.3-apo25m-15000-59146-007.fits",
    ),
    (
        "ipl3",
        "apVisit",
        "apred=1.3 telescope=apo25m field=13030 plate=15000 mjd=59146 fiber=7",
        "ipl-3/spectro/apogee/redux/1.3/visit/apo25m/13030/15000/59146/apVisit-1.3-apo25m-15000-59146-007.fits",
    ),
    (
        "ipl4",
        "apVisit",
        "apred=1.3 telescope=apo25m field=13030 plate=15000 mjd=59146 fiber=7",
        "ipl-4/spectro/apogee/redux/1.3/visit/apo25m/13030/15000/59146/apVisit-1.3-apo25m-15000-59146-007.fits",
    ),
    (
        "dr19",
        "apVisit",
        "apred=1.3 telescope=apo25m field=13030 plate=15000 mjd=59146 fiber=7",
        "dr19/spectro/apogee/redux/1.3/visit/apo25m/13030/15000/59146/apVisit-1.3-apo25m-15000-59146-007.fits",
    ),
    (
        "dr20",
        "apVisit",
        "apred=1.3 telescope=apo25m field=13030 plate=15000 mjd=59146 fiber=7",
        "dr20/spectro/apogee/redux/1.3/visit/apo25m/13030/15000/59146/apVisit-1.3-apo25m-15000-59146-007.fits",
    ),
    (
        "dr16",
        "apVisit",
        "apred=r12 telescope=lco25m field=000+14 plate=8000 mjd=57729 fiber=104 prefix=as",
        "dr16/apogee/spectro/redux/r12/visit/lco25m/000+14/8000/57729/asVisit-r12-8000-57729-104.fits",
    ),
    (
        "dr16",
        "spec",
        "run2d=26 plateid=266 mjd=51602 fiberid=1",
        "dr16/sdss/spectro/redux/26/spectra/full/0266/spec-0266-51602-0001.fits",
    ),
    (
        "dr17",
        "apVisit",
        "apred=dr17 telescope=lco25m field=000+14 plate=8000 mjd=57729 fiber=104 prefix=as",
        "dr17/apogee/spectro/redux/dr17/visit/lco25m/000+14/8000/57729/asVisit-dr17-8000-57729-104.fits",
    ),
    (
        "dr17",
        "spec",
        "run2d=26 plateid=266 mjd=51602 fiberid=1",
        "dr17/sdss/spectro/redux/26/spectra/full/0266/spec-0266-51602-0001.fits",
    ),
    (
        "dr18",
        "spSpec",
        "run2d=v6_0_4 fieldid=15143 mjd=59205 catalogid=4544940698",
        "dr18/spectro/boss/redux/v6_0_4/15143p/coadd/59205/spSpec-15143-59205-04544940698.fits",
    ),
    (
        "dr18",
        "specLite",
        "run2d=v6_0_4 fieldid=15143 mjd=59205 catalogid=4544940698",
        "dr18/spectro/boss/redux/v6_0_4/spectra/lite/15143p/59205/spec-15143-59205-04544940698.fits",
    ),
    (
        "dr19",
        "specFull",
        "run2d=v6_1_3 fieldid=15143 mjd=59205 catalogid=4544940698",
        "dr19/spectro/boss/redux/v6_1_3/spectra/full/015143/59205/spec-015143-59205-4544940698.fits",
    ),
    (
        "dr20",
        "spSpec",
        "run2d=v6_2_1 fieldid=15143 mjd=59205 catalogid=4544940698",
        "dr20/spectro/boss/redux/v6_2_1/fields/015XXX/015143/coadd/59205/spSpec-015143-59205-4544940698.fits",
    ),
    (
        "dr20",
        "specLite",
        "run2d=v6_2_1 fieldid=15143 mjd=59205 catalogid=4544940698",
        "dr20/spectro/boss/redux/v6_2_1/spectra/daily/lite/015XXX/015143/59205/spec-015143-59205-4544940698.fits",
    ),
    (
        "sdss5",
        "specFull",
        "run2d=v6_0_4 fieldid=15143 mjd=59205 catalogid=4544940698",
        "sdsswork/bhm/boss/spectro/redux/v6_0_4/spectra/full/15143p/59205/spec-15143-59205-4544940698.fits",
    ),
    (
        "sdss5",
        "spSpec",
        "run2d=v6_1_3 fieldid=15143 mjd=59205 catalogid=4544940698",
        "sdsswork/bhm/boss/spectro/redux/v6_1_3/015143/coadd/59205/spSpec-015143-59205-4544940698.fits",
    ),
    (
        "sdss5",
        "specLite",
        "run2d=v6_1_3 fieldid=15143 mjd=59205 catalogid=4544940698",
        "sdsswork/bhm/boss/spectro/redux/v6_1_3/spectra/lite/015143/59205/spec-015143-59205-4544940698.fits",
    ),
    (
        "sdss5",
        "specFull",
        "run2d=v6_2_1 fieldid=15143 mjd=59205 catalogid=4544940698",
        "sdsswork/bhm/boss/spectro/redux/v6_2_1/spectra/daily/full/015XXX/015143/59205/spec-015143-59205-4544940698.fits",
    ),
    (
        "ipl3",
        "spSpec",
        "run2d=v6_1_3 fieldid=15143 mjd=59205 catalogid=4544940698",
        "ipl-3/spectro/boss/redux/v6_1_3/015143/coadd/59205/spSpec-015143-59205-4544940698.fits",
    ),
    (
        "ipl3",
        "specLite",
        "run2d=v6_1_3 fieldid=15143 mjd=59205 catalogid=4544940698",
        "ipl-3/spectro/boss/redux/v6_1_3/spectra/lite/015143/59205/spec-015143-59205-4544940698.fits",
    ),
    (
        "dr20",
        "mwmStar",
        "v_astra=0.6.0 sdss_id=103020000",
        "dr20/spectro/astra/0.6.0/spectra/star/00/00/mwmStar-0.6.0-103020000.fits",
    ),
    (
        "dr19",
        "allVisit",
        "apred=1.3 telescope=apo25m",
        "dr19/spectro/apogee/redux/1.3/summary/allVisit-1.3-apo25m.fits",
    ),
    (
        "dr20",
        "spAll",
        "run2d=v6_2_1",
        "dr20/spectro/boss/redux/v6_2_1/summary/daily/spAll-v6_2_1.fits",
    ),
]

KEYS = {
    "apred": "1.3",
    "apstar": "stars",
    "aspcap": "l33",
    "cat_id": 27021600949438,
    "catalogid": 4544940698,
    "component": "",
    "fiber": 7,
    "fiberid": 31,
    "field": "120-45",
    "fieldid": "15143",
    "healpix": 12345,
    "mjd": 59146,
    "obj": "2M00452143+1634446",
    "plate": "15000",
    "plateid": 266,
    "prefix": "ap",
    "reduction": "Fomalhaut",
    "run2d": "v6_1_3",
    "sdss_id": 103020000,
    "telescope": "apo25m",
    "v_astra": "0.6.0",
}


def split(keys):
    return dict(item.split("=") for item in keys.split())


@pytest.mark.parametrize(("release", "product", "keys", "expected"), GOLDEN)
def test_golden_paths_are_made_from_text_and_from_numbers(release, product, keys, expected):
    paths = SdssPath(release, sas_base_dir="/sas")
    texts = split(keys)
    numbers = {key: int(value) if value.isdigit() else value for key, value in texts.items()}
    assert paths.full(product, **texts) == f"/sas/{expected}"
    assert paths.full(product, **numbers) == f"/sas/{expected}"
    domain = "data.sdss.org" if release.startswith("dr") else "data.sdss5.org"
    assert paths.url(product, **texts) == f"https://{domain}/sas/{expected}"


@pytest.mark.parametrize(("release", "product", "keys", "expected"), GOLDEN)
def test_keys_of_golden_paths_are_read_back(release, product, keys, expected):
    paths = SdssPath(release, sas_base_dir="/sas")
    for form in (f"/sas/{expected}", expected + ".gz", paths.url(product, **split(keys))):
        found = paths.extract(product, form)
        assert {key: str(value) for key, value in found.items()} == split(keys) | (
            {"prefix": "as"} if "lco25m" in keys else {}
        )


@pytest.mark.parametrize("release", available_releases())
def test_every_product_of_every_release_goes_there_and_back(release):
    paths = SdssPath(release, sas_base_dir="/sas", tree_dir="/nowhere")
    for name in paths.lookup_names():
        for run2d in ("v6_0_4", "v6_1_3", "v6_2_1", "26"):
            keys = {
                key: value
                for key, value in {**KEYS, "run2d": run2d}.items()
                if key in paths.lookup_keys(name)
            }
            path = paths.full(name, **keys)
            assert path.startswith("/sas/")
            assert "$" not in path
            assert "{" not in path
            found = paths.extract(name, path)
            assert paths.full(name, **found) == path
            assert found.items() <= keys.items()
            assert release_of(paths.location(name, **keys)) == release


def test_survey_names_of_data_release_13_are_made():
    paths = SdssPath("dr13", sas_base_dir="/sas")
    keys = {"apred": "r6", "telescope": "apo25m", "field": "4476", "apstar": "stars"}
    assert (
        paths.full("apVisit", plate="6561", mjd=56587, fiber=131, **keys)
        == "/sas/dr13/apogee/spectro/redux/r6/apo25m/6561/56587/apVisit-r6-6561-56587-131.fits"
    )
    assert (
        paths.full("apStar", obj="2M00452143+1634446", **keys)
        == "/sas/dr13/apogee/spectro/redux/r6/stars/apo25m/4476/apStar-r6-2M00452143+1634446.fits"
    )
    assert (
        paths.full("spec", run2d="v5_10_0", plateid=3586, mjd=55181, fiberid=500)
        == "/sas/dr13/eboss/spectro/redux/v5_10_0/spectra/full/3586/spec-3586-55181-0500.fits"
    )


def test_names_of_the_current_release_are_one_and_the_same():
    keys = {"apred": "daily", "telescope": "apo25m", "healpix": 12345, "obj": "2M00000000+0000000"}
    found = {SdssPath(name, "/sas").full("apStar", **keys) for name in ("sdss5", "sdsswork", "work", "SDSS5")}
    folder = "/sas/sdsswork/mwm/apogee/spectro/redux/daily/stars/apo25m/12/12345"
    assert found == {f"{folder}/apStar-daily-apo25m-2M00000000+0000000.fits"}


def test_spec_of_sdss_v_takes_the_plate_as_its_field():
    paths = SdssPath("sdss5", "/sas")
    keys = {"catalogid": 4544940698, "mjd": 59205, "plate": "15143"}
    folder = "/sas/sdsswork/bhm/boss/spectro/redux/v6_0_4/15143p/coadd/59205"
    assert paths.full("spec", run2d="v6_0_4", **keys) == f"{folder}/spSpec-15143-59205-04544940698.fits"
    assert paths.full("spec", run2d="v6_2_1", **keys) == paths.full("specFull", run2d="v6_2_1", **keys)


def test_paths_of_two_releases_do_not_disturb_each_other():
    first = SdssPath("sdss5", "/sas")
    before = first.full("allVisit", **KEYS)
    environment = dict(os.environ)
    SdssPath("dr19", "/other").full("allVisit", **KEYS)
    assert first.full("allVisit", **KEYS) == before
    assert dict(os.environ) == environment


def test_mirror_has_what_is_public():
    keys = {"apred": "1.3", "telescope": "apo25m"}
    address = "https://data.mirror.sdss.org/sas/dr19/spectro/apogee/redux/1.3/summary/allStar-1.3-apo25m.fits"
    assert SdssPath("dr19", "/sas", mirror=True).url("allStar", **keys) == address
    assert (
        SdssPath("sdss5", mirror=True)
        .url("allStar", **keys)
        .startswith("https://data.sdss5.org/sas/sdsswork")
    )


def test_root_comes_from_the_environment_and_is_never_made(monkeypatch, tmp_path):
    monkeypatch.setenv("SAS_BASE_DIR", str(tmp_path / "archive"))
    assert SdssPath("dr17").full("allStar", **KEYS).startswith(str(tmp_path / "archive/dr17"))
    monkeypatch.delenv("SAS_BASE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert SdssPath("dr17").full("allStar", **KEYS).startswith(str(tmp_path / "sas/dr17"))
    assert list(tmp_path.iterdir()) == []


def test_compressed_form_is_found_where_the_file_is_not(tmp_path):
    paths = SdssPath("dr17", tmp_path)
    plain = paths.full("spAll", run2d="v5_13_2")
    os.makedirs(os.path.dirname(plain))
    with open(plain + ".gz", "w"):
        pass
    assert paths.full("spAll", run2d="v5_13_2") == plain + ".gz"
    with open(plain, "w"):
        pass
    assert paths.full("spAll", run2d="v5_13_2") == plain


def test_all_missing_keys_are_named_at_once():
    with pytest.raises(
        ConfigError, match="keys are missing for a apVisit path of sdsswork: field, plate, fiber"
    ):
        SdssPath("sdss5").full("apVisit", apred="1.3", telescope="apo25m", mjd=59146)


def test_empty_key_is_a_missing_one():
    with pytest.raises(ConfigError, match="key is missing for a apVisit path of dr17: field"):
        SdssPath("dr17").full("apVisit", **KEYS | {"field": ""})
    assert release_of("somewhere/else.fits") is None


def test_wrong_keys_products_releases_and_paths_are_refused():
    paths = SdssPath("dr17", "/sas")
    with pytest.raises(ConfigError, match="key fiber must be a non-negative integer, not 'seven'"):
        paths.full("apVisit", **KEYS | {"fiber": "seven"})
    with pytest.raises(ConfigError, match="telescope 'vlt' has no file prefix"):
        paths.full("apVisit", **KEYS | {"prefix": None, "telescope": "vlt"})
    with pytest.raises(ConfigError, match="dr17 has no product 'mwmStar'"):
        paths.full("mwmStar", **KEYS)
    with pytest.raises(ConfigError, match="SDSS release 'dr99' is not known"):
        SdssPath("dr99")
    with pytest.raises(ConfigError, match="is not the path of a apVisit file of dr17"):
        paths.extract("apVisit", "/sas/dr17/apogee/spectro/redux/spec-1.fits")


def test_wildcards_pass_for_globbing():
    path = SdssPath("dr20", "/sas").location("specLite", run2d="v6_2_1", fieldid="*", mjd="*", catalogid="*")
    assert path == "dr20/spectro/boss/redux/v6_2_1/spectra/daily/lite/*/*/*/spec-*-*-*.fits"
    path = SdssPath("dr20", "/sas").location("mwmStar", v_astra="0.6.0", sdss_id="*")
    assert path == "dr20/spectro/astra/0.6.0/spectra/star/*/*/mwmStar-0.6.0-*.fits"


@pytest.mark.parametrize(
    ("product", "run2d", "folder"),
    [
        ("specFull_epoch", "v6_1_3", "epoch/spectra"),
        ("spAll_epoch", "v6_1_3", "epoch"),
        ("spAll_epoch", "v6_2_1", "summary/epoch"),
        ("specLite_epoch", "v6_2_1", "spectra/epoch"),
        ("spAllField", "v6_2_1", "daily"),
        ("spSpec", "v6_2_1", "fields"),
        ("spSpec", "v5_13_2", ""),
    ],
)
def test_folder_of_a_product_follows_the_reduction(product, run2d, folder):
    assert PATH_FUNCTIONS["sptypefolder"].value(product, {"run2d": run2d}) == folder


def test_only_optional_keys_may_be_left_out():
    for release in available_releases():
        paths = SdssPath(release, "/sas", tree_dir="/nowhere")
        for name in paths.lookup_names():
            needed = [key for key in paths.lookup_keys(name) if key not in OPTIONAL_KEYS]
            paths.full(name, **{key: KEYS[key] for key in needed})


def touch(*paths):
    for path in paths:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w"):
            pass


def test_folder_name_and_presence_of_a_file_are_told(tmp_path):
    paths = SdssPath("dr19", tmp_path)
    keys = {"telescope": "apo25m", "field": "13030", "plate": 15000, "mjd": 59146, "fiber": 7}
    assert paths.name("apVisit", **keys) == "apVisit-1.3-apo25m-15000-59146-007.fits"
    assert paths.dir("apVisit", **keys) == os.path.dirname(paths.full("apVisit", **keys))
    assert not paths.exists("apVisit", **keys)
    touch(paths.full("apVisit", **keys) + ".gz")
    assert paths.exists("apVisit", **keys)
    assert paths.name("apVisit", **keys).endswith(".fits.gz")


def test_wildcards_find_the_files_that_are_here(tmp_path):
    paths = SdssPath("dr19", tmp_path)
    keys = {"telescope": "apo25m", "field": "13030", "plate": 15000, "mjd": 59146}
    visits = [paths.full("apVisit", fiber=fiber, **keys) for fiber in (7, 12, 104)]
    touch(*visits[:2], visits[2] + ".gz", visits[0] + ".gz", visits[0].replace("apVisit-", "apVisitSum-"))
    touch(os.path.join(os.path.dirname(visits[0]), ".part~" + os.path.basename(visits[0])))
    expected = sorted([*visits[:2], visits[2] + ".gz"])
    assert paths.expand("apVisit", **keys) == paths.expand("apVisit", fiber="*", **keys) == expected
    assert paths.expand("apVisit") == expected
    assert paths.expand("apVisit", apred="1.?", mjd="591*") == expected
    assert paths.expand("apVisit", telescope="lco25m") == []
    assert paths.any("apVisit")
    assert not paths.any("apStar")


def test_wildcard_for_the_reduction_finds_all_layouts(tmp_path):
    paths = SdssPath("sdss5", tmp_path)
    keys = {"fieldid": 15143, "mjd": 59205, "catalogid": 4544940698}
    found = [
        paths.full("specFull", run2d=run2d, **keys) for run2d in ("v6_0_4", "v6_1_3", "v6_2_1", "master")
    ]
    touch(*found)
    assert paths.expand("specFull", run2d="*") == sorted(found)
    assert paths.expand("specFull", run2d="v6_?_?", **keys) == sorted(found[:3])
    assert paths.expand("spec", run2d="v6_[12]*") == []  # brackets stand for themselves
    south = SdssPath("dr17", tmp_path).full("apVisit", **KEYS | {"prefix": None, "telescope": "lco25m"})
    touch(south)
    assert SdssPath("dr17", tmp_path).expand("apVisit", apred="*", telescope="*") == [south]


def test_addresses_are_quoted_and_read_back():
    paths = SdssPath("dr19", "/sas")
    keys = {"telescope": "apo1m", "field": "a#b%20?", "mjd": 59146, "reduction": "b Her"}
    url = paths.url("apVisit-1m", apred="1.3", **keys)
    assert url.endswith("/visit/apo1m/a%23b%2520%3F/59146/apVisit-1.3-59146-b%20Her.fits")
    assert paths.extract("apVisit-1m", url) == {"apred": "1.3", **keys}


def test_server_of_ones_own_takes_the_place_of_the_survey():
    paths = SdssPath(
        "sdss5", "/sas", server="http://127.0.0.1:80/copy/", rsync_server="rsync://127.0.0.1:873/"
    )
    url = paths.url("allStar", apred="1.3", telescope="apo25m")
    assert url.startswith("http://127.0.0.1:80/copy/sdsswork/mwm/apogee")
    assert paths.extract("allStar", url) == {"apred": "1.3", "telescope": "apo25m"}
    assert paths.rsync_server == "rsync://127.0.0.1:873"
    assert SdssPath("sdss5").rsync_server == "rsync://sdss5@dtn.sdss.org"
    assert (
        SdssPath("sdss5", public=True).rsync_server == SdssPath("dr17").rsync_server == "rsync://dtn.sdss.org"
    )


def test_kind_chooses_the_spectrum_of_a_target():
    paths = SdssPath("dr20", "/sas")
    keys = {"plate": 15143, "mjd": 59205, "catalogid": 4544940698}
    for kind, name in (("full", "specFull"), ("lite", "specLite"), ("spSpec", "spSpec")):
        location = paths.location(name, **keys)
        assert paths.location("spec", kind=kind, **keys) == location
        assert paths.location("spec", **paths.extract("spec", location)) == location
    of_2021 = paths.location("spec", run2d="v6_0_4", **keys)
    assert of_2021.endswith("v6_0_4/15143p/coadd/59205/spSpec-15143-59205-04544940698.fits")
    assert paths.location("spec", run2d="v6_0_4", kind="spSpec", **keys) == of_2021
    assert "/lite/" in paths.location("spec", run2d="v6_0_4", kind="lite", **keys)
