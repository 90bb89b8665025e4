import numpy as np
import pytest
from scipy.optimize import least_squares

from astra.images.dia_measurement_config import DipoleConfig
from astra.images.dipoles import HALF_WIDTH_FWHM, INPUT_RADIUS_FWHM, fit_dipoles
from astra.images.exposure import MASK_BAD
from astra.images.psf import sigma_from_fwhm
from tests.images.difference_field import make_exposure

FWHM = 4.0
SIGMA = sigma_from_fwhm(FWHM)
DIFFERENCE_ONLY = DipoleConfig(input_weight=0.0)


def make_scene(rng, *, n=6, flux=20000.0, separation=0.4, ratio=1.0, noises=(8.0, 6.0)):
    """Difference, science image and template of stars that have moved, and their lobes."""
    middle = np.arange(n) * 40 + 30.0
    x, y = (g.ravel() + rng.uniform(-0.5, 0.5, g.size) for g in np.meshgrid(middle, middle))
    angle = rng.uniform(0, 2 * np.pi, x.size)
    dx, dy = separation / 2 * np.cos(angle), separation / 2 * np.sin(angle)
    lobes, shape = np.stack([x + dx, y + dy, x - dx, y - dy], axis=1), (n * 40 + 20, n * 40 + 32)
    fluxes = np.stack([np.full(x.size, flux), np.full(x.size, flux * ratio)], axis=1)
    science = make_exposure(rng, shape, (lobes[:, 0], lobes[:, 1], fluxes[:, 0]), FWHM, noise=noises[0])
    template = make_exposure(rng, shape, (lobes[:, 2], lobes[:, 3], fluxes[:, 1]), FWHM, noise=noises[1])
    difference = science.replace(
        image=science.image - template.image, variance=science.variance + template.variance
    )
    return (difference, science, template), lobes, fluxes


def peaks_of(lobes):
    """Where the peaks of both signs are seen: at least about two widths of the PSF from each other."""
    middle, half = (lobes[:, :2] + lobes[:, 2:]) / 2, (lobes[:, :2] - lobes[:, 2:]) / 2
    length = np.maximum(np.hypot(*half.T), 1e-9)[:, None]
    half = half / length * np.maximum(length, SIGMA)
    return np.rint(np.hstack([middle + half, middle - half]))


def pulls_of(fits, lobes, fluxes):
    errors = np.sqrt(np.einsum("nii->ni", fits.covariance))
    return np.hstack([fits.flux - fluxes, fits.position - lobes]) / errors


@pytest.mark.parametrize(
    ("separation", "flux", "config"),
    [
        (0.1, 50000.0, DipoleConfig()),
        (0.5, 10000.0, DipoleConfig()),
        (4.0, 6000.0, DipoleConfig()),
        (2.5, 20000.0, DIFFERENCE_ONLY),
        (4.0, 6000.0, DIFFERENCE_ONLY),
    ],
)
def test_fluxes_and_places_scatter_by_their_errors(separation, flux, config):
    rng, pulls, off = np.random.default_rng(4), [], []
    for _ in range(3):
        images, lobes, fluxes = make_scene(rng, flux=flux, separation=separation, ratio=0.9)
        fits = fit_dipoles(*images, peaks_of(lobes), config)
        assert fits.converged.all()
        assert fits.is_dipole.all()
        pulls.append(pulls_of(fits, lobes, fluxes))
        moved = fits.separation - (lobes[:, :2] - lobes[:, 2:])
        c = fits.covariance
        off.append(moved[:, 0] / np.sqrt(c[:, 2, 2] + c[:, 4, 4] - 2 * c[:, 2, 4]))
    pulls = np.column_stack([np.concatenate(pulls), np.concatenate(off)])
    assert abs(pulls.mean(axis=0)).max() < 3.5 / np.sqrt(len(pulls))
    assert pulls.std() == pytest.approx(1.0, abs=0.08)
    assert pulls.std(axis=0) == pytest.approx(1.0, abs=0.3)


def test_a_tenth_of_a_pixel_of_a_bright_star_is_measured():
    images, lobes, _ = make_scene(np.random.default_rng(8), flux=50000.0, separation=0.1)
    fits = fit_dipoles(*images, peaks_of(lobes))
    assert fits.is_dipole.all()
    along = np.einsum("ni,ni->n", fits.separation, (lobes[:, :2] - lobes[:, 2:]) / 0.1)
    assert np.median(along) == pytest.approx(0.1, abs=0.01)
    assert np.median(fits.flux) == pytest.approx(50000.0, rel=0.01)
    mean_flux = fits.flux.mean(axis=1)
    assert np.std(mean_flux) == pytest.approx(np.median(fits.combined_flux_err(1.0)) / 2, rel=0.4)


def residuals_of(parameters, stamps, share, offset, radius):
    """Weighted residuals of the model, written once more with Gaussians."""
    fluxes, (x1, y1, x2, y2), sky = parameters[:2], parameters[2:6], parameters[6:]
    dx, dy = offset[None, :], offset[:, None]

    def star(x, y):
        return np.exp(-((dx - x) ** 2 + (dy - y) ** 2) / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2)

    positive, negative = fluxes[0] * star(x1, y1), fluxes[1] * star(x2, y2)
    plane = sky[0] + sky[1] * dx + sky[2] * dy
    near = share * (dx**2 + dy**2 <= radius**2)
    models = positive - negative + plane, positive + sky[3], negative + sky[4]
    core = 9 * (dx**2 + dy**2) <= radius**2
    scales = [1 / np.sqrt(stamps[0][1]), *(near / np.sqrt(v[core].mean()) for _, v in stamps[1:])]
    parts = [scale * (data - model) for (data, _), model, scale in zip(stamps, models, scales, strict=True)]
    return np.concatenate([part.ravel() for part in parts])


@pytest.mark.parametrize("config", [DipoleConfig(), DIFFERENCE_ONLY])
def test_it_finds_what_a_general_least_squares_solver_finds(config):
    images, lobes, fluxes = make_scene(np.random.default_rng(3), n=2, flux=4000.0, separation=3.0, ratio=0.8)
    fits = fit_dipoles(*images, peaks_of(lobes), config)
    half = int(np.ceil(HALF_WIDTH_FWHM * FWHM))
    offset = np.arange(-half, half + 1.0)
    radius = INPUT_RADIUS_FWHM * images[0].psf.fwhm_pixel(0, 0)
    for k, lobe in enumerate(peaks_of(lobes)):
        x0, y0 = np.rint((lobe[:2] + lobe[2:]) / 2).astype(int)
        box = np.s_[y0 - half : y0 + half + 1, x0 - half : x0 + half + 1]
        stamps = [(e.image[box].astype(float), e.variance[box].astype(float)) for e in images]
        start = np.concatenate([fluxes[k], lobes[k] - [x0, y0, x0, y0], np.zeros(5)])
        found = least_squares(
            residuals_of,
            start,
            args=(stamps, config.input_weight, offset, radius),
            x_scale=np.maximum(abs(start), 1),
        )
        errors = np.sqrt(np.diag(fits.covariance[k]))
        mine = np.concatenate([fits.flux[k], fits.position[k] - [x0, y0, x0, y0]])
        np.testing.assert_allclose((mine - found.x[:6]) / errors, 0.0, atol=0.03)
        on_difference = found.fun[: offset.size**2]
        assert fits.chi2[k] == pytest.approx(np.sum(on_difference**2), rel=1e-3)


def test_neither_a_transient_nor_a_variable_star_is_a_dipole():
    rng = np.random.default_rng(6)
    for ratio in (0.0, 0.8, 1.3):
        images, lobes, _ = make_scene(rng, flux=12000.0, separation=0.0, ratio=ratio)
        start = np.rint(lobes) + np.array([0, 0, 3, 1])
        fits = fit_dipoles(*images, start)
        assert not fits.is_dipole.any()


def test_unequal_lobes_are_no_dipole():
    images, lobes, _ = make_scene(np.random.default_rng(6), separation=4.0, ratio=0.4)
    fits = fit_dipoles(*images, peaks_of(lobes))
    assert fits.converged.all()
    assert (fits.lobe_snr > 5).all()
    assert not fits.is_dipole.any()
    allowed = fit_dipoles(*images, peaks_of(lobes), DipoleConfig(max_flux_fraction=0.8))
    assert allowed.is_dipole.all()


def test_lobes_stay_near_their_peaks_and_each_other():
    images, lobes, _ = make_scene(np.random.default_rng(6), separation=4.0)
    config = DipoleConfig(max_shift_sigma=0.5, max_separation_sigma=1.5)
    start = peaks_of(lobes) + np.array([2.0, -2.0, 0.0, 0.0])
    fits = fit_dipoles(*images, start, config)
    shift, separation = abs(fits.position - start), np.hypot(*fits.separation.T)
    assert shift[fits.converged].max() <= 0.5 * SIGMA + 2.0  # of a lobe that the other one draws near
    assert separation[fits.converged].max() <= 1.5 * SIGMA + 1e-6
    assert separation[fits.converged].max() > 1.4 * SIGMA


def test_masked_pixels_do_not_count():
    images, lobes, fluxes = make_scene(np.random.default_rng(2), separation=3.0)
    rng = np.random.default_rng(3)
    spoilt = []
    for exposure in images:
        mask = np.where(rng.random(exposure.shape) < 0.02, MASK_BAD, exposure.mask).astype(np.uint32)
        spoilt.append(exposure.replace(mask=mask, image=np.where(mask > 0, np.float32(1e7), exposure.image)))
    fits = fit_dipoles(*spoilt, peaks_of(lobes))
    assert pulls_of(fits, lobes, fluxes).std() == pytest.approx(1.0, abs=0.2)
    assert (fits.n_data < (2 * np.ceil(HALF_WIDTH_FWHM * FWHM) + 1) ** 2).all()


def test_without_pixels_there_is_no_fit():
    images, lobes, _ = make_scene(np.random.default_rng(2), n=2)
    hidden = [e.replace(mask=np.full_like(e.mask, MASK_BAD)) for e in images]
    fits = fit_dipoles(*hidden, lobes)
    assert not fits.converged.any()
    assert not fits.is_dipole.any()
    assert np.isnan(fits.flux).all()
    assert fit_dipoles(*images, np.zeros((0, 4))).flux.shape == (0, 2)


def test_an_image_without_psf_is_refused():
    images, lobes, _ = make_scene(np.random.default_rng(2), n=2)
    with pytest.raises(ValueError, match="PSF"):
        fit_dipoles(images[0], images[1].replace(psf=None), images[2], lobes)
