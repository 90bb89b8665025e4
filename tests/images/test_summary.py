import dataclasses
import math

import numpy as np
import pytest
from star_field import GAIN, NJY_PER_ADU, PIXEL_ARCSEC, SKY, make_exposure, make_star_field, make_wcs

from astra.images.exposure import MASK_NO_DATA
from astra.images.process_ccd import ProcessCcdConfig, process_ccd
from astra.images.psf import gaussian_psf
from astra.images.psf_stars import PsfFitConfig
from astra.images.summary import (
    INGREDIENTS,
    Fiducial,
    SummaryConfig,
    magnitude_limit,
    summarise,
    why_missing,
)

SHAPE = 300, 500
SIGMA = 1.7
READ_NOISE = 6.0  # [e-]
SKY_VARIANCE = SKY / GAIN + (READ_NOISE / GAIN) ** 2
FIDUCIAL = Fiducial(
    psf_sigma_pixel=1.5, sky_adu_per_s=4.0, zero_point_mag=25.0, mag_lim=22.0, exposure_time_s=30.0
)


def blank(shape=SHAPE, seed=0, **fields):
    """An exposure of sky alone, which is subtracted."""
    noise = np.random.default_rng(seed).normal(0, math.sqrt(SKY_VARIANCE), shape)
    return make_exposure(noise, np.full(shape, SKY_VARIANCE), gain=GAIN, **fields)


def summarise_blank(exposure=None, **changes):
    known = {"psf": gaussian_psf(2.3548 * SIGMA), "njy_per_adu": NJY_PER_ADU, "sky_adu": SKY}
    return summarise(exposure or blank(), **{**known, "read_noise_electron": READ_NOISE, **changes})


def test_a_source_at_the_limit_has_that_signal_to_noise():
    summary = summarise_blank()
    flux = 10 ** (0.4 * (summary["zeroPoint"] - summary["magLim"]))
    rng, stamp = np.random.default_rng(1), gaussian_psf(2.3548 * SIGMA, size=25).stamp(0, 0)
    photons = rng.poisson(GAIN * (flux * stamp + SKY), (4000, *stamp.shape)) / GAIN
    images = photons + rng.normal(0, READ_NOISE / GAIN, photons.shape) - SKY
    measured = np.einsum("kij,ij->k", images, stamp) / np.sum(stamp**2)
    assert np.mean(measured) == pytest.approx(flux, rel=0.02)
    assert np.mean(measured) / np.std(measured) == pytest.approx(5.0, rel=0.04)


def test_the_limit_of_few_photons_is_that_of_the_photons():
    # Without sky, a S/N of 5 needs 25 electrons.
    assert magnitude_limit(0.0, 50.0, 30.0, gain=GAIN) == pytest.approx(30.0 - 2.5 * math.log10(25.0 / GAIN))
    deeper = magnitude_limit(1.0, 50.0, 30.0, gain=GAIN, snr=3.0)
    assert deeper > magnitude_limit(1.0, 50.0, 30.0, gain=GAIN)


def test_without_read_noise_the_variance_tells_the_depth():
    assert summarise_blank(read_noise_electron=None)["magLim"] == pytest.approx(
        summarise_blank()["magLim"], abs=1e-3
    )


def test_sky_figures_are_those_of_the_image():
    summary = summarise_blank()
    assert summary["skyNoise"] == pytest.approx(math.sqrt(SKY_VARIANCE), rel=0.02)
    assert summary["meanVar"] == pytest.approx(SKY_VARIANCE, rel=1e-4)
    assert summary["skyBg"] == SKY
    assert summary["zeroPoint"] == pytest.approx(31.4 - 2.5 * math.log10(NJY_PER_ADU))
    assert summary["expTime"] == 30.0


def test_large_images_are_sampled_and_masked_pixels_left_out():
    exposure = blank((1400, 1700))
    exposure.image[:500], exposure.mask[:500] = 1e6, MASK_NO_DATA
    exposure.image[600:620] = np.nan
    exposure.image[700:720, :300] = 5000.0
    summary = summarise_blank(exposure)
    assert summary["skyNoise"] == pytest.approx(math.sqrt(SKY_VARIANCE), rel=0.03)


def test_a_calibrated_image_gives_the_figures_in_counts():
    exposure = blank()
    scale = np.float32(NJY_PER_ADU)
    calibrated = exposure.replace(
        image=exposure.image * scale, variance=exposure.variance * scale**2, unit="nJy"
    )
    wanted, found = summarise_blank(exposure), summarise_blank(calibrated)
    for name in ("skyNoise", "meanVar", "magLim"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-5)
    assert math.isnan(summarise_blank(calibrated, njy_per_adu=None)["skyNoise"])


def test_the_psf_is_described_by_its_shape_and_area():
    summary = summarise_blank()
    assert summary["psfSigma"] == pytest.approx(SIGMA, rel=0.01)
    assert summary["psfIxx"] == pytest.approx(SIGMA**2, rel=0.01)
    assert summary["psfIxy"] == pytest.approx(0.0, abs=1e-6)
    assert summary["psfArea"] == pytest.approx(4 * np.pi * SIGMA**2, rel=0.01)
    assert summary["psfTraceRadiusDelta"] == pytest.approx(0.0, abs=1e-6)
    assert summary["psfApFluxDelta"] == pytest.approx(0.0, abs=1e-6)


def test_ordinary_conditions_have_no_effect_on_the_time():
    fiducial = dataclasses.replace(
        FIDUCIAL,
        psf_sigma_pixel=SIGMA,
        sky_adu_per_s=SKY / 30.0,
        zero_point_mag=31.4 - 2.5 * math.log10(NJY_PER_ADU * 30.0),
        mag_lim=summarise_blank()["magLim"],
    )
    summary = summarise_blank(config=SummaryConfig(fiducials={"r": fiducial}))
    assert summary["effTime"] == pytest.approx(30.0)
    for name in ("PsfSigma", "SkyBg", "ZeroPoint"):
        assert summary[f"effTime{name}Scale"] == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize(("change", "power"), [("seeing", -2), ("sky", -1), ("transparency", 2)])
def test_the_effective_time_is_what_the_depth_takes(change, power):
    config = SummaryConfig(mag_lim_snr=0.1, fiducials={"r": FIDUCIAL})  # sky dominates by far
    bright = {"sky_adu": 1e5, "read_noise_electron": 0.0, "config": config}
    changed = {
        "seeing": {"psf": gaussian_psf(2.3548 * 1.1 * SIGMA)},
        "sky": {"sky_adu": 1.1e5},
        "transparency": {"njy_per_adu": NJY_PER_ADU / 1.1},
    }[change]
    before, after = summarise_blank(**bright), summarise_blank(**{**bright, **changed})
    assert after["effTime"] / before["effTime"] == pytest.approx(1.1**power, rel=0.01)
    scales = [f"effTime{name}Scale" for name in ("PsfSigma", "SkyBg", "ZeroPoint")]
    product = np.prod([after[name] / before[name] for name in scales])
    assert product == pytest.approx(1.1**power, rel=0.01)


@pytest.mark.parametrize(("ra", "dec"), [(10.0, -25.0), (0.0, 0.0), (200.0, 89.9)])
def test_the_sky_is_that_of_the_wcs(ra, dec):
    wcs = make_wcs(SHAPE, ra, dec)
    summary = summarise(blank(wcs=wcs))
    assert (summary["ra"] - ra + 180) % 360 - 180 == pytest.approx(0.0, abs=1e-9)
    assert summary["dec"] == pytest.approx(dec, abs=1e-9)
    assert summary["pixelScale"] == pytest.approx(PIXEL_ARCSEC, rel=1e-6)
    corners = np.array([[summary[f"raCorners{k}"], summary[f"decCorners{k}"]] for k in range(1, 5)])
    x, y = wcs.all_world2pix(corners, 0).T
    assert x == pytest.approx([-0.5, 499.5, 499.5, -0.5], abs=1e-6)
    assert y == pytest.approx([-0.5, -0.5, 299.5, 299.5], abs=1e-6)


def test_what_is_missing_is_nan_and_says_what_it_needs():
    summary = summarise(blank())
    assert set(summary) == set(INGREDIENTS)
    assert {name for name, value in summary.items() if not math.isnan(value)} == {
        "expTime",
        "skyNoise",
        "meanVar",
    }
    missing = why_missing(summary)
    assert missing["psfSigma"] == "needs a PSF"
    assert missing["zenithDistance"] == "needs the zenith distance"
    assert "magLim" in missing
    assert "expTime" not in missing


def test_an_image_masked_whole_still_has_a_summary():
    exposure = blank(wcs=make_wcs(SHAPE))
    exposure.mask[:] = MASK_NO_DATA
    summary = summarise_blank(exposure)
    assert math.isnan(summary["skyNoise"])
    assert math.isnan(summary["psfTraceRadiusDelta"])
    assert summary["psfSigma"] > 0
    assert summary["magLim"] > 0


@pytest.fixture(scope="module")
def calibrated():
    star_field = make_star_field()
    return star_field, process_ccd(
        star_field.exposure, star_field.reference, ProcessCcdConfig(psf=PsfFitConfig(size_pixel=31))
    )


def test_a_calibrated_detector_has_a_whole_summary(calibrated):
    star_field, result = calibrated
    metrics = result.metrics
    info = dataclasses.replace(result.calexp.info, zenith_distance_deg=30.0)
    summary = summarise(
        result.calexp.replace(info=info),
        result.sources,
        njy_per_adu=metrics["zero_point_njy_per_adu"],
        sky_adu=metrics["sky_adu"],
        matches=result.matches,
        reference=star_field.reference,
    )
    assert summary["zenithDistance"] == 30.0
    assert summary["magLim"] == result.summary["magLim"]
    assert all(isinstance(value, float) for value in summary.values())
    assert summary["nSources"] == metrics["n_sources"]
    assert summary["nPsfStar"] == metrics["n_psf_stars"]
    assert summary["nAstrometryUsed"] == metrics["n_astrometry_used"]
    assert summary["nStars"] > 0.8 * summary["nSources"]
    assert summary["skyNoise"] == pytest.approx(metrics["sky_noise_adu"], rel=0.1)
    assert summary["psfSigma"] == pytest.approx(1.4, rel=0.02)
    assert abs(summary["psfStarDeltaSizeMedian"]) < 0.02
    assert summary["psfStarScaledDeltaSizeScatter"] < 0.02
    assert summary["starEMedian"] < 0.03
    assert summary["starComa1Median"] == pytest.approx(0.0, abs=0.01)
    assert summary["starKurtosisMedian"] == pytest.approx(2.0, abs=0.05)  # of a Gaussian
    assert summary["astromOffsetMean"] < 0.03
    assert 20 < summary["maxDistToNearestPsf"] < 200
    area = star_field.exposure.image.size * (PIXEL_ARCSEC / 3600) ** 2
    assert summary["refCatSourceDensity"] == pytest.approx(len(star_field.reference) / area, rel=0.01)
    assert set(why_missing(summary)) == {
        *(f"psfTE{k}{part}" for k in (2, 4) for part in ("e1", "e2", "ex")),  # the field is too small
        *(name for name in INGREDIENTS if name.startswith("effTime")),
        "psfApCorrSigmaScaledDelta",
    }


def test_no_sources_are_no_error(calibrated):
    _, result = calibrated
    summary = summarise(result.calexp, result.sources[:0], matches=result.matches[:0])
    assert (summary["nSources"], summary["nPsfStar"]) == (0.0, 0.0)
    assert math.isnan(summary["starEMedian"])
    assert math.isnan(summary["astromOffsetMean"])
