"""The calibration of real frames against what the LSST stack measured on them.

A row of the stack's table is *clean* if none of its flags is set: centroid, edge, interpolated, saturated
(anywhere or in the centre) and shape; its S/N is that of its PSF flux. Both catalogues are in counts [adu]
over the same soft bias, so instrumental fluxes compare directly. The stack saw rows below 1361 alone (the
rest overlap the next field); our catalogue of the whole frame is nevertheless held to 1.2 times its rows.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from astropy.table import Table
from scipy.spatial import cKDTree

from astra.images.exposure import MASK_DETECTED
from astra.images.process_ccd import process_ccd
from astra.images.psf import Psf
from astra.images.psf_held_out import JudgingStars, held_out_residuals, star_residuals
from astra.images.psf_stars import PsfFitConfig
from astra.images.summary import SummaryConfig, summarise, why_missing
from astra.instruments.sdss import SdssCamera
from astra.products.reference_catalog import read_reference_catalog

FRAMES = [(run, band) for run in (4192, 6377) for band in "gr"]
FIELDS = {4192: 300, 6377: 399}


@dataclass(frozen=True)
class Comparison:
    """One frame's result, the survey's PSF, the stack's rows, and the nearest of our sources to each."""

    result: object
    survey_psf: Psf
    expected: Table
    clean: np.ndarray
    snr: np.ndarray
    nearest: np.ndarray
    separation_arcsec: np.ndarray

    def matched(self, min_snr):
        """Clean rows above an S/N that have a counterpart, and the counterparts."""
        chosen = self.clean & (self.snr > min_snr) & (self.separation_arcsec < 1.0)
        return self.expected[chosen], self.nearest[chosen]


@pytest.fixture(scope="session")
def stack_table(shared_data):
    return Table.read(shared_data / "sdss_s82" / "expected-sources-gr.txt", format="ascii.commented_header")


@pytest.fixture(scope="session", params=FRAMES, ids=lambda frame: f"{frame[0]}{frame[1]}")
def comparison(request, shared_data, stack_table):
    run, band = request.param
    field = FIELDS[run]
    path = (
        shared_data
        / "sdss_s82"
        / str(run)
        / "40"
        / "corr"
        / "4"
        / f"fpC-{run:06d}-{band}4-{field:04d}.fit.gz"
    )
    reference = read_reference_catalog(shared_data / "sdss_s82" / "ref_cat" / "stars.fits", band)
    exposure = SdssCamera().load(path)
    result = process_ccd(exposure, reference)
    key = ((run * 10 + "ugriz".index(band)) * 10 + 4) * 10000 + field
    expected = stack_table[np.asarray(stack_table["id"]) >> 26 == key]
    flagged = [
        np.asarray(expected[name]).astype(str) == "True" for name in expected.colnames if "flag" in name
    ]
    # The field lies on the equator: ra and dec are plane coordinates there.
    sky = [
        np.stack([catalogue[ra], catalogue[dec]], axis=-1) * 3600
        for catalogue, ra, dec in ((result.sources, "ra", "dec"), (expected, "coord_ra", "coord_dec"))
    ]
    separation, nearest = cKDTree(sky[0]).query(sky[1])
    return Comparison(
        result=result,
        survey_psf=exposure.psf,
        expected=expected,
        clean=~np.any(flagged, axis=0),
        snr=np.asarray(expected["base_PsfFlux_instFlux"] / expected["base_PsfFlux_instFluxErr"]),
        nearest=result.sources[nearest],
        separation_arcsec=separation,
    )


def test_clean_sources_above_ten_sigma_are_found(comparison):
    wanted = comparison.clean & (comparison.snr > 10)
    assert wanted.sum() > 200
    assert np.mean(comparison.separation_arcsec[wanted] < 1.0) >= 0.99


def test_the_catalogue_is_not_padded(comparison):
    assert len(comparison.result.sources) <= 1.2 * len(comparison.expected)


def test_centroids_agree(comparison):
    expected, found = comparison.matched(10)
    distance = np.hypot(
        expected["base_SdssCentroid_x"] - found["x"], expected["base_SdssCentroid_y"] - found["y"]
    )
    assert np.median(distance) < 0.05


def test_aperture_fluxes_agree(comparison):
    expected, found = comparison.matched(50)
    ratio = found["apInstFlux"] / expected["base_CircularApertureFlux_6_0_instFlux"]
    assert abs(np.median(ratio) - 1) < 0.01
    assert np.median(np.abs(ratio - 1)) < 0.01
    error = found["apInstFluxErr"] / expected["base_CircularApertureFlux_6_0_instFluxErr"]
    assert np.median(error) == pytest.approx(1.0, abs=0.05)


def test_faint_aperture_fluxes_agree_within_their_errors(comparison):
    expected, found = comparison.matched(10)
    flux = np.asarray(expected["base_CircularApertureFlux_6_0_instFlux"])
    assert np.median(np.abs(found["apInstFlux"] - flux) / found["apInstFluxErr"]) < 1.0


def test_psf_fluxes_and_shapes_agree(comparison):
    expected, found = comparison.matched(50)
    # Theirs are scaled to an aperture of their own choice: a constant of some per cent is a convention.
    ratio = found["psfInstFlux"] / expected["base_PsfFlux_instFlux"]
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.02
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
    stars = np.asarray(expected["base_ClassificationExtendedness_value"]) == 0
    for ours, theirs in (("ixx", "base_SdssShape_xx"), ("iyy", "base_SdssShape_yy")):
        assert np.median(found[ours][stars] / expected[theirs][stars]) == pytest.approx(1.0, abs=0.02)


def test_stars_and_galaxies_are_told_apart_alike(comparison):
    expected, found = comparison.matched(10)
    theirs = np.asarray(expected["base_ClassificationExtendedness_value"])
    known = np.isfinite(theirs) & np.isfinite(found["extendedness"])
    assert np.mean(theirs[known] == found["extendedness"][known]) > 0.9


def test_zero_point_scatters_little(comparison):
    metrics = comparison.result.metrics
    assert metrics["zero_point_scatter_mag"] <= 0.025
    assert metrics["n_photometry_used"] >= 30


def test_positions_scatter_little_about_the_reference(comparison):
    metrics = comparison.result.metrics
    assert metrics["astrometry_scatter_ra_arcsec"] <= 0.04
    assert metrics["astrometry_scatter_dec_arcsec"] <= 0.04
    assert metrics["n_astrometry_used"] >= 60


def test_psf_fits_its_stars(comparison):
    assert comparison.result.metrics["psf_residual"] <= 0.015
    assert comparison.result.metrics["aperture_correction"] == pytest.approx(1.0, abs=0.03)


def test_psf_predicts_the_stars_that_are_left_out_of_its_fit(comparison):
    config = PsfFitConfig()
    judging = JudgingStars.choose(comparison.result.calexp, comparison.result.sources, config)
    found = held_out_residuals(judging, config)
    assert found.n_stars >= 30
    assert found.stacked <= 0.015
    assert found.typical <= 0.015
    survey = star_residuals(judging, comparison.survey_psf)
    assert found.stacked < survey.stacked
    assert found.typical < survey.typical


def test_the_effective_time_is_about_that_of_a_scan(comparison):
    summary = comparison.result.summary
    fiducials = SdssCamera().fiducials[comparison.result.calexp.info.band]
    config = SummaryConfig(fiducials={comparison.result.calexp.info.band: fiducials})
    found = summarise(
        comparison.result.calexp,
        njy_per_adu=comparison.result.metrics["zero_point_njy_per_adu"],
        sky_adu=comparison.result.metrics["sky_adu"],
        config=config,
    )
    assert found["magLim"] == pytest.approx(summary["magLim"])
    assert 30.0 < found["effTime"] < 75.0  # of 53.9 s
    assert np.isfinite(found["effTimePsfSigmaScale"]) == (comparison.result.calexp.info.band == "r")
    missing = why_missing(found)
    assert "fiducial sky" in missing["effTimeSkyBgScale"]
    assert "effTime" not in missing


def test_blank_sky_is_zero(comparison):
    calexp = comparison.result.calexp
    blank = (calexp.mask & MASK_DETECTED) == 0
    pull = calexp.image[blank] / np.sqrt(calexp.variance[blank])
    assert np.median(pull) == pytest.approx(0.0, abs=0.03)
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.05)


# What moved through the field of run 4192: ra, dec [deg], AB magnitude.
MOVING = {"r": (351.70379, 0.19755, 20.47), "g": (351.70340, 0.19742, 20.95)}


def test_the_moving_object_has_its_brightness(comparison):
    calexp = comparison.result.calexp
    if calexp.metadata["RUN"] != 4192:
        pytest.skip("the object is in run 4192 alone")
    ra, dec, magnitude = MOVING[calexp.info.band]
    sources = comparison.result.sources
    separation = np.hypot(sources["ra"] - ra, sources["dec"] - dec) * 3600
    assert separation.min() < 0.5
    found = sources[separation.argmin()]
    assert 31.4 - 2.5 * np.log10(found["psfFlux"]) == pytest.approx(magnitude, abs=0.1)
