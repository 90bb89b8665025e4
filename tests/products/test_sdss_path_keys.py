import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astra.errors import ConfigError
from astra.products.sdss_path_functions import PLATE_RUN2D
from astra.products.sdss_path_tables import DEFAULT_VERSIONS, NUMERIC_KEYS, OPTIONAL_KEYS
from astra.products.sdss_paths import SdssPath, available_releases

PATHS = {release: SdssPath(release, "/sas", tree_dir="/nowhere") for release in available_releases()}
PRODUCTS = [(release, name) for release, paths in PATHS.items() for name in paths.lookup_names()]

WORD = string.ascii_letters + string.digits + "_."
VERSION = st.text(WORD, min_size=1, max_size=8).filter(lambda text: set(text) != {"."})
FIELDS = st.one_of(
    st.integers(0, 999_999).map(str),
    st.from_regex(r"[0-3][0-9]{2}[+-][0-9]{2}(-[A-Z])?", fullmatch=True),
    st.from_regex(r"[A-Z][A-Za-z0-9_]{0,9}", fullmatch=True),
)
SPECIAL = {
    "apred": VERSION,
    "apstar": st.just("stars"),
    "component": st.from_regex(r"([A-Z][a-z]?[0-9]?)?", fullmatch=True),
    "field": FIELDS,
    "fieldid": st.one_of(st.integers(0, 999_999).map(str), st.sampled_from(["allepoch", "RM-1"])),
    "kind": st.sampled_from(["full", "lite", "spSpec"]),
    "obj": st.from_regex(r"(2M|AP)[0-9]{8}[+-][0-9]{7}|VESTA|b Her\+A", fullmatch=True),
    "plate": st.integers(1, 20_000).map(str),
    "prefix": st.sampled_from(["ap", "as"]),
    "reduction": st.text(WORD + "+-", min_size=1, max_size=12).filter(lambda text: set(text) != {"."}),
    "run2d": st.sampled_from(["26", "v5_13_2", "v6_0_4", "v6_0_9", "v6_1_3", "v6_2_1", "master"]),
    "telescope": st.sampled_from(["apo25m", "apo1m", "lco25m"]),
}
NUMBER = st.one_of(st.integers(0, 9), st.integers(0, 99_999), st.integers(0, 2**62))


def keys_of(paths, name):
    return st.fixed_dictionaries(
        {key: NUMBER if key in NUMERIC_KEYS else SPECIAL.get(key, VERSION) for key in paths.lookup_keys(name)}
    )


@pytest.mark.parametrize(("release", "name"), PRODUCTS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_keys_come_back_from_every_path(release, name, data):
    paths = PATHS[release]
    keys = data.draw(keys_of(paths, name))
    if name == "spec" and keys.get("run2d") in PLATE_RUN2D:
        assume(keys.get("kind") != "spSpec")  # those reductions have one file, whichever is asked for
    location = paths.location(name, **keys)
    assert paths.location(name, **{key: str(value) for key, value in keys.items()}) == location
    expected = {key: value for key, value in keys.items() if (key, value) != ("kind", "full")}
    for form in (location, f"/sas/{location}", paths.url(name, **keys), f"/sas/{location}.gz"):
        assert paths.extract(name, form) == expected


@pytest.mark.parametrize("value", ["../../etc", "a/b", "..", ".", "a\nb", "a\0b", "a\\b", "/"])
@pytest.mark.parametrize(
    ("release", "name"), [("dr17", "apStar"), ("dr19", "specLite"), ("sdss5", "mwmStar")]
)
def test_no_key_leaves_its_place_in_a_path(release, name, value):
    paths = SdssPath(release, "/sas")
    keys = dict.fromkeys(paths.lookup_keys(name), "1") | {"telescope": "apo25m"}
    for key in paths.lookup_keys(name):
        with pytest.raises(ConfigError, match=f"key {key} must be"):
            paths.full(name, **keys | {key: value})


def test_names_of_folders_in_a_key_are_plain_text():
    keys = {"apred": "$BOSS_SPECTRO_REDUX", "telescope": "{plate}", "field": "@isplate|", "plate": "~"}
    found = SdssPath("dr19", "/sas").location("apVisit", mjd=59146, fiber=7, **keys)
    top = "dr19/spectro/apogee/redux/$BOSS_SPECTRO_REDUX/visit/{plate}/@isplate|/~/59146"
    assert found == f"{top}/apVisit-$BOSS_SPECTRO_REDUX-{{plate}}-~-59146-007.fits"


@pytest.mark.parametrize("release", available_releases())
def test_reduction_of_a_release_is_meant_where_none_is_named(release):
    paths = SdssPath(release, "/sas")
    assert paths.defaults == DEFAULT_VERSIONS[release]
    for name in ("apVisit", "allStar", "specFull", "spec", "spAll", "mwmStar"):
        if not paths.has_name(name):
            continue
        wanted = paths.lookup_keys(name)
        keys = {key: "1" for key in wanted if key not in paths.defaults and key not in OPTIONAL_KEYS}
        keys |= {"telescope": "apo25m"}
        versions = {key: value for key, value in paths.defaults.items() if key in wanted}
        if set(wanted) - set(keys) <= {*versions, *OPTIONAL_KEYS}:
            assert paths.location(name, **keys) == paths.location(name, **keys, **versions)


def test_known_reductions_are_those_of_the_data_model():
    defaults = {release: SdssPath(release).defaults for release in ("dr16", "dr17", "dr18", "dr19", "ipl1")}
    assert defaults == {
        "dr16": {"apred": "r12", "aspcap": "l33", "run2d": "v5_13_0"},
        "dr17": {"apred": "dr17", "aspcap": "synspec_rev1", "run2d": "v5_13_2"},
        "dr18": {"run2d": "v6_0_4"},
        "dr19": {"apred": "1.3", "run2d": "v6_1_3", "v_astra": "0.6.0"},
        "ipl1": {"apred": "1.0", "run2d": "v6_0_9", "v_astra": "0.2.6"},
    }


def test_near_spellings_are_named():
    paths = SdssPath("dr19", "/sas", tree_dir="/nowhere")
    with pytest.raises(ConfigError, match=r"no product 'apvisit'; apVisit .*may be meant"):
        paths.lookup_keys("apvisit")
    with pytest.raises(ConfigError, match=r"no product 'spec-lite'.*; it is in dr13, dr14, dr15, dr16, dr17"):
        paths.lookup_keys("spec-lite")
    with pytest.raises(
        ConfigError, match="missing for a apVisit path of dr19: fiber; fibre is no key of it, fiber may"
    ):
        paths.full("apVisit", fibre=7, field="13030", plate=15000, mjd=59146, telescope="apo25m")
    with pytest.raises(ConfigError, match=r"'dr91' is not known; dr19 .*may be meant"):
        SdssPath("dr91", tree_dir="/nowhere")
    with pytest.raises(
        ConfigError, match="kind of a spec file must be one of full, lite, spSpec, not 'light'"
    ):
        paths.full("spec", fieldid=15143, mjd=59205, catalogid=1, kind="light")


def test_numbers_of_tables_are_numbers():
    import numpy as np

    paths = SdssPath("dr19", "/sas")
    keys = {"telescope": "apo25m", "field": "13030", "plate": np.int32(15000)}
    plain = paths.location("apVisit", mjd=59146, fiber=7, **keys)
    assert paths.location("apVisit", mjd=np.int64(59146), fiber=7.0, **keys) == plain
    assert paths.location("apVisit", mjd=" 59146 ", fiber="007", **keys) == plain
    with pytest.raises(ConfigError, match=r"key fiber must be a non-negative integer, not 7\.5"):
        paths.location("apVisit", mjd=59146, fiber=7.5, **keys)
