import numpy as np
import pytest

from astra.images.dia_shapes import LARGEST_SHAPE_PIXEL, extendedness, measure_shapes, stamp_moments
from astra.images.exposure import MASK_SAT
from astra.images.fluxes import aperture_sums
from astra.images.moments import Pixels, adaptive_moments
from astra.images.psf import gaussian_psf, sigma_from_fwhm
from tests.images.difference_field import add_stars, make_exposure

SHAPE = (260, 310)
SIGMA, RADIUS = sigma_from_fwhm(3.5), 6.0


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(8)
    y, x = np.mgrid[3:258:17, 3:308:17].astype(float)
    x, y = x.ravel() + rng.uniform(-0.5, 0.5, x.size), y.ravel() + rng.uniform(-0.5, 0.5, x.size)
    flux = np.exp(rng.uniform(np.log(500), np.log(9000), x.size)) * np.where(rng.random(x.size) < 0.4, -1, 1)
    exposure = make_exposure(rng, SHAPE, ([], [], []), 3.5)
    image, mask = exposure.image.astype(float), exposure.mask.copy()
    wide = rng.random(x.size) < 0.2
    for rows, fwhm in ((~wide, 3.5), (wide, 9.0)):
        add_stars(image, x[rows], y[rows], (flux * np.where(wide, 9.0, 1.0))[rows], fwhm)
    mask[rng.random(SHAPE) < 0.01] = MASK_SAT
    image[120, 130:160] = np.nan
    return exposure.replace(image=image.astype(np.float32), mask=mask), np.stack([x, y], axis=1), flux < 0


def test_boxes_change_nothing(field):
    exposure, positions, is_negative = field
    found = measure_shapes(exposure, positions, is_negative, SIGMA, RADIUS)
    owner = np.where((exposure.mask > 0) | ~np.isfinite(exposure.image), -1, 0).astype(np.int32)
    for negative in (False, True):
        rows = is_negative == negative
        image = -exposure.image if negative else exposure.image
        pixels, labels = Pixels(image, exposure.variance, owner), np.zeros(rows.sum(), np.int64)
        flux, error, area = aperture_sums(pixels, labels, positions[rows], np.array([RADIUS]))
        sign = -1.0 if negative else 1.0
        np.testing.assert_allclose(found.ap_flux[rows], sign * flux[:, 0], rtol=1e-6)
        np.testing.assert_allclose(found.ap_flux_err[rows], error[:, 0], rtol=1e-6)
        np.testing.assert_allclose(found.ap_area[rows], area[:, 0], rtol=1e-6)
        moments = adaptive_moments(pixels, labels, positions[rows], SIGMA, LARGEST_SHAPE_PIXEL)
        good = moments[:, 5] == 0
        assert not found.failed[rows][good].any()
        assert good.sum() > 10
        np.testing.assert_allclose(found.moments[rows][good], moments[good, :3], rtol=1e-3, atol=1e-3)


def test_wide_sources_are_measured_as_wide(field):
    exposure, _, _ = field
    image = np.zeros(SHAPE)
    add_stars(image, [150.3], [120.6], [1e6], 13.0)
    plain = exposure.replace(image=image.astype(np.float32), mask=np.zeros_like(exposure.mask))
    shapes = measure_shapes(plain, np.array([[150.3, 120.6]]), np.array([False]), SIGMA, RADIUS)
    assert shapes.moments[0, 0] == pytest.approx(sigma_from_fwhm(13.0) ** 2, rel=0.01)


def test_a_long_source_is_measured_from_a_second_guess(field):
    exposure, _, _ = field
    image = np.zeros(SHAPE)
    x = 150.3 + np.linspace(-8, 8, 65)
    add_stars(image, x, np.full(65, 120.6), np.full(65, 1e4), 3.5)
    rng = np.random.default_rng(1)
    image += rng.normal(size=SHAPE) * 10
    plain = exposure.replace(image=image.astype(np.float32), mask=np.zeros_like(exposure.mask))
    shapes = measure_shapes(plain, np.array([[150.3, 120.6]]), np.array([False]), SIGMA, RADIUS)
    assert not shapes.failed[0]
    assert shapes.moments[0, 0] > 3.0 * shapes.moments[0, 2]


def test_a_hidden_source_has_no_pixels(field):
    exposure, positions, is_negative = field
    hidden = exposure.replace(mask=np.full_like(exposure.mask, MASK_SAT))
    shapes = measure_shapes(hidden, positions, is_negative, SIGMA, RADIUS)
    assert shapes.failed.all()
    assert not shapes.n_usable.any()
    assert not shapes.ap_area.any()


def test_moments_of_a_gaussian_psf_are_its_variance():
    stamps = np.stack([gaussian_psf(w, 31).coefficients[0] for w in (4.0, 5.0)])
    moments = stamp_moments(stamps, 1.8)
    for row, fwhm in zip(moments, (4.0, 5.0), strict=True):
        assert row[0] == pytest.approx(sigma_from_fwhm(fwhm) ** 2, rel=1e-3)
        assert row[2] == pytest.approx(row[0])
        assert row[1] == pytest.approx(0.0, abs=1e-6)


def make_moments(radius):
    radius = np.asarray(radius, dtype=float)
    return np.stack([radius**2, 0 * radius, radius**2], axis=1)


def test_extendedness_is_certain_for_bright_sources_only():
    psf = make_moments([2.0] * 6)
    moments = make_moments([2.0, 2.6, 2.0, 2.6, 2.2, 2.0])
    value = extendedness(moments, psf, np.array([100.0, 100.0, 3.0, -3.0, 50.0, 0.0]))
    assert value[0] < 1e-6
    assert value[1] > 1 - 1e-6
    assert 0.2 < value[2] < 0.5 < value[3] < 0.8
    np.testing.assert_allclose(value[4:], 0.5)
    assert np.isnan(extendedness(np.full((1, 3), np.nan), psf[:1], np.array([9.0]))).all()


def test_extendedness_of_point_sources_is_low_and_of_wide_ones_high():
    rng = np.random.default_rng(4)
    y, x = (g.ravel().astype(float) for g in np.mgrid[25:250:30, 25:290:30])
    for fwhm, least, most in ((3.5, 0.0, 0.2), (5.0, 0.8, 1.0)):
        exposure = make_exposure(rng, SHAPE, (x, y, np.full(x.size, 9000.0)), fwhm)
        positions, positive = np.stack([x, y], axis=1), np.zeros(x.size, dtype=bool)
        shapes = measure_shapes(exposure, positions, positive, SIGMA, RADIUS)
        psf = stamp_moments(np.repeat(gaussian_psf(3.5, 31).coefficients, x.size, axis=0), SIGMA)
        value = extendedness(shapes.moments, psf, np.full(x.size, 60.0))
        assert ((value >= least) & (value <= most)).mean() > 0.9
