"""Where SDSS keeps its spectral products: roots and file-name templates of each release.

Tables alone; `astra.products.sdss_paths` resolves them. A template is a path below the SAS; in it ``$NAME``
is a root of the release, ``{key}`` a key, ``{key:0>3}`` a key in a format of Python, and ``@name|`` a
function of `astra.products.sdss_path_functions`. Layouts and spelling are those of sdss-tree 4.1.4,
versions those of the SDSS data model.
"""

from __future__ import annotations

SDSS_IV = ("dr13", "dr14", "dr15", "dr16", "dr17")
IPL = ("ipl1", "ipl2", "ipl3", "ipl4")
SDSS_V = ("sdsswork", *IPL, "dr18", "dr19", "dr20")
RELEASES = (*SDSS_IV, *SDSS_V)
ALIASES = {"sdss5": "sdsswork", "work": "sdsswork"}

# Keys that are numbers in every release; the others (plate, field, obj, ...) are names, even if all digits.
NUMERIC_KEYS = frozenset({"cat_id", "catalogid", "fiber", "fiberid", "healpix", "mjd", "plateid", "sdss_id"})

# Keys that are numbers or names: a number loses its leading zeros, which paths add as they need them.
NUMBER_OR_NAME_KEYS = frozenset({"fieldid"})

# Keys that may be left out, with the value they then have; None: it follows from the other keys.
OPTIONAL_KEYS: dict[str, str | None] = {
    "apstar": "stars",
    "component": "",
    "kind": "full",
    "num": None,
    "obs": None,
    "prefix": None,
}

# The reduction that is meant where none is named, if a release has one. Of the working tree, that of the
# night for APOGEE, and for BOSS and astra the newest that has a number.
_VERSION_KEYS = ("apred", "aspcap", "run2d", "v_astra")
_VERSIONS = {
    "dr13": ("r6", "l30e", "v5_9_0", ""),
    "dr14": ("r8", "l31c", "v5_10_0", ""),
    "dr15": ("r8", "l31c", "v5_10_0", ""),
    "dr16": ("r12", "l33", "v5_13_0", ""),
    "dr17": ("dr17", "synspec_rev1", "v5_13_2", ""),
    "dr18": ("", "", "v6_0_4", ""),
    "dr19": ("1.3", "", "v6_1_3", "0.6.0"),
    "dr20": ("1.5", "", "v6_2_1", "0.8.1"),
    "ipl1": ("1.0", "", "v6_0_9", "0.2.6"),
    "ipl2": ("1.0", "", "v6_0_9", "0.3.0"),
    "ipl3": ("1.3", "", "v6_1_3", "0.6.0"),
    "ipl4": ("1.5", "", "v6_2_1", "0.7.0"),
    "sdsswork": ("daily", "", "v6_2_1", "0.8.1"),
}
DEFAULT_VERSIONS = {
    release: {key: value for key, value in zip(_VERSION_KEYS, values, strict=True) if value}
    for release, values in _VERSIONS.items()
}

_WITH_APOGEE = ("sdsswork", *IPL, "dr19", "dr20")
_EARLY = ("dr13", "dr14", "dr15")
_LATE_IV = ("dr16", "dr17")
_GROUPED = ("sdsswork", "ipl4", "dr20")
_FLAT = ("ipl1", "ipl2", "dr19")

_VISIT = "$APOGEE_REDUX/{apred}/visit/{telescope}/{field}"
_VISIT_FILE = "/{plate}/{mjd}/apVisit-{apred}-{plate}-{mjd}-{fiber:0>3}.fits"
_STAR_V = (
    "$APOGEE_REDUX/{apred}/stars/{telescope}/@healpixgrp|/{healpix}/apStar-{apred}-{telescope}-{obj}.fits"
)
_BOSS = "$BOSS_SPECTRO_REDUX/{run2d}"
_FIELD = "@pad_fieldid|@isplate|"
_SPEC_IV = "@spectrodir|/{run2d}/spectra"
_SPEC_IV_FILE = "{plateid:0>4}/spec-{plateid:0>4}-{mjd}-{fiberid:0>4}.fits"
_SPEC_V_FILE = "{mjd}/spec-@pad_fieldid|-{mjd}-{catalogid}.fits"
_SP_SPEC_FILE = "coadd/{mjd}/spSpec-@pad_fieldid|-{mjd}-{catalogid}.fits"
_MWM = "$MWM_ASTRA/{v_astra}"

# What a BOSS spectrum of SDSS-V may be, if it goes by the name of ``spec`` alone.
SPEC_KINDS = {"full": "specFull", "lite": "specLite", "spSpec": "spSpec"}

# The layout of BOSS run2d v6_0_1 to v6_0_4, and the only one of data release 18.
SP_SPEC_2021 = _BOSS + "/{fieldid}p/coadd/{mjd}/spSpec-{fieldid}-{mjd}-{catalogid:0>11}.fits"


def _spec_iv(kind: str) -> dict[tuple[str, ...], str]:
    return {SDSS_IV: f"{_SPEC_IV}/{kind}/{_SPEC_IV_FILE}"}


def _spec_v(kind: str) -> dict[tuple[str, ...], str]:
    return {
        (
            "dr18",
        ): f"{_BOSS}/spectra/{kind}/{{fieldid}}p/{{mjd}}/spec-{{fieldid}}-{{mjd}}-{{catalogid:0>11}}.fits",
        _FLAT: f"{_BOSS}/spectra/{kind}/{_FIELD}/{_SPEC_V_FILE}",
        ("ipl3",): f"{_BOSS}/spectra/{kind}/@pad_fieldid|/{_SPEC_V_FILE}",
        _GROUPED: f"{_BOSS}/spectra/@sptypefolder|/{kind}/@fieldgrp|/{_FIELD}/{_SPEC_V_FILE}",
    }


def _mwm(kind: str, folder: str) -> dict[tuple[str, ...], str]:
    by_catalogue = f"{_MWM}/{{run2d}}-{{apred}}/spectra/{folder}/@cat_id_groups|/"
    by_source = f"spectra/{folder}/@sdss_id_groups|/{kind}-{{v_astra}}-{{sdss_id}}.fits"
    return {
        ("ipl1", "ipl2"): f"{by_catalogue}{kind}-{{v_astra}}-{{cat_id}}@component_default|.fits",
        ("ipl4",): f"$MWM_ASTRA/{by_source}",
        ("sdsswork", "ipl3", "dr19", "dr20"): f"{_MWM}/{by_source}",
    }


def _summary(name: str) -> dict[tuple[str, ...], str]:
    return {
        _LATE_IV: f"$APOGEE_ASPCAP/{{apred}}/{{aspcap}}/{name}-{{apred}}-{{aspcap}}.fits",
        _WITH_APOGEE: f"$APOGEE_REDUX/{{apred}}/summary/{name}-{{apred}}-{{telescope}}.fits",
    }


_PRODUCTS: dict[str, dict[tuple[str, ...], str]] = {
    "apVisit": {
        _EARLY: "$APOGEE_REDUX/{apred}/{telescope}" + _VISIT_FILE,
        _LATE_IV: _VISIT + "/{plate}/{mjd}/@prefix|Visit-{apred}-{plate}-{mjd}-{fiber:0>3}.fits",
        _WITH_APOGEE: _VISIT + "/{plate}/{mjd}/apVisit-{apred}-{telescope}-{plate}-{mjd}-{fiber:0>3}.fits",
    },
    "apVisit-1m": {(*_LATE_IV, *_WITH_APOGEE): _VISIT + "/{mjd}/apVisit-{apred}-{mjd}-{reduction}.fits"},
    "apStar": {
        SDSS_IV: "$APOGEE_REDUX/{apred}/{apstar}/{telescope}/{field}/@prefix|Star-{apred}-{obj}.fits",
        ("ipl1", "ipl2"): _STAR_V.replace("/stars/", "/"),
        ("ipl3", "ipl4", "dr19", "dr20"): _STAR_V,
        ("sdsswork",): _STAR_V.replace("/stars/", "/{apstar}/"),
    },
    "spec": _spec_iv("full"),
    "spec-lite": _spec_iv("lite"),
    "specFull": _spec_v("full"),
    "specLite": _spec_v("lite"),
    "spSpec": {
        ("dr18",): SP_SPEC_2021,
        _FLAT: f"{_BOSS}/{_FIELD}/{_SP_SPEC_FILE}",
        ("ipl3",): f"{_BOSS}/@pad_fieldid|/{_SP_SPEC_FILE}",
        _GROUPED: f"{_BOSS}/@sptypefolder|/@fieldgrp|/{_FIELD}/{_SP_SPEC_FILE}",
    },
    "spAll": {
        SDSS_IV: "@spectrodir|/{run2d}/spAll-{run2d}.fits",
        ("dr18", "dr19", "ipl1", "ipl2", "ipl3"): f"{_BOSS}/spAll-{{run2d}}.fits",
        _GROUPED: f"{_BOSS}/@sptypefolder|/spAll-{{run2d}}.fits",
    },
    "spAll-lite": {
        ("dr19", "ipl3"): f"{_BOSS}/spAll-lite-{{run2d}}.fits",
        _GROUPED: f"{_BOSS}/@sptypefolder|/spAll-lite-{{run2d}}.fits",
    },
    "mwmStar": _mwm("mwmStar", "star"),
    "mwmVisit": _mwm("mwmVisit", "visit"),
    "allStar": _summary("allStar"),
    "allVisit": _summary("allVisit"),
}


def templates(release: str) -> dict[str, str]:
    """Return the template of each product that a release has.

    Parameters
    ----------
    release : str
        One of `RELEASES`.

    Returns
    -------
    templates : dict of str to str
        By product name.
    """
    return {
        name: template
        for name, layouts in _PRODUCTS.items()
        for releases, template in layouts.items()
        if release in releases
    }


def roots(release: str) -> dict[str, str]:
    """Return the folders below the SAS that ``$NAME`` of a template stands for in a release.

    Parameters
    ----------
    release : str
        One of `RELEASES`.

    Returns
    -------
    roots : dict of str to str
        Relative to the SAS.
    """
    if release == "sdsswork":
        return {
            "APOGEE_REDUX": "sdsswork/mwm/apogee/spectro/redux",
            "BOSS_SPECTRO_REDUX": "sdsswork/bhm/boss/spectro/redux",
            "MWM_ASTRA": "sdsswork/mwm/spectro/astra",
        }
    if release in SDSS_IV:
        return {
            "APOGEE_REDUX": f"{release}/apogee/spectro/redux",
            "APOGEE_ASPCAP": f"{release}/apogee/spectro/aspcap",
            "SPECTRO_REDUX": f"{release}/sdss/spectro/redux",
            "BOSS_SPECTRO_REDUX": f"{release}/eboss/spectro/redux",
        }
    folder = release.replace("ipl", "ipl-")
    return {
        "APOGEE_REDUX": f"{folder}/spectro/apogee/redux",
        "BOSS_SPECTRO_REDUX": f"{folder}/spectro/boss/redux",
        "MWM_ASTRA": f"{folder}/spectro/astra",
    }
