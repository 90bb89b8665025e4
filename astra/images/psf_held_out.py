"""How well a PSF predicts stars: those that it was fitted without, or those of an image with another PSF."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astra.images.detection import detect_sources
from astra.images.exposure import Exposure
from astra.images.local_psf import draw_local_psfs, make_local_psfs
from astra.images.measurement import central_sigma, make_pixels
from astra.images.moments import Pixels
from astra.images.psf import Psf
from astra.images.psf_fit import CORE_RADIUS_SIGMA, fit_psf
from astra.images.psf_stars import PsfFitConfig, select_psf_stars
from astra.images.star_stamps import Amplitudes, StarStamps, radius_of

FloatArray = NDArray[np.float64]

CENTRE_ROUNDS = 4
MAX_STEP_PIXEL = 0.5


@dataclass(frozen=True)
class StarResiduals:
    """What a PSF leaves of the cores of stars, as fractions of the peak.

    Parameters
    ----------
    typical : float
        Median over the stars of the rms residual, the noise of the pixels taken out in quadrature.
    stacked : float
        Largest of the mean residual of all stars, each pixel weighted by its noise.
    stacked_err : float
        Noise of the mean residual where it is largest.
    n_stars : int
        Stars that were judged.
    """

    typical: float
    stacked: float
    stacked_err: float
    n_stars: int


@dataclass(frozen=True)
class JudgingStars:
    """Stars by which PSFs are judged.

    Parameters
    ----------
    pixels : Pixels
        Image, variance and owners; see `astra.images.measurement.make_pixels`.
    stars : structured ndarray, shape (n,)
        ``id`` (label of the owner), ``x`` and ``y`` [pixel].
    sigma : float
        Width of the PSF, roughly; the core reaches to three of it [pixel].
    """

    pixels: Pixels
    stars: NDArray[np.void]
    sigma: float

    @classmethod
    def choose(cls, exposure: Exposure, sources: NDArray[np.void], config: PsfFitConfig) -> JudgingStars:
        """Choose stars as for the fit, but none is left out for not being like the others.

        Parameters
        ----------
        exposure : Exposure
            Sky subtracted, with PSF.
        sources : structured ndarray, shape (n,)
            As `astra.images.measurement.measure_sources` returns them.
        config : PsfFitConfig
            Limits.

        Raises
        ------
        ValueError
            If the exposure has no PSF.
        TooFewSourcesError
            If there are too few.
        """
        if exposure.psf is None:
            raise ValueError("stars are chosen on an exposure with PSF, and this one has none")
        stars = sources[select_psf_stars(sources, config)].copy()
        segments = detect_sources(exposure, exposure.psf).segments
        stars["id"] = segments[np.rint(stars["y"]).astype(np.int64), np.rint(stars["x"]).astype(np.int64)]
        return cls(make_pixels(exposure, segments), stars, central_sigma(exposure.psf, exposure.shape))


@dataclass(frozen=True)
class _Cores:
    """Residuals of stars and their variance at the pixels of the core, (n, n_pixels), over the peaks."""

    residual: FloatArray
    variance: FloatArray
    usable: NDArray[np.bool_]

    def pooled(self) -> StarResiduals:
        """Sum them up."""
        n_usable = np.maximum(self.usable.sum(axis=1), 1)
        square = np.where(self.usable, self.residual**2 - self.variance, 0.0).sum(axis=1) / n_usable
        weight = np.where(self.usable, 1.0 / self.variance, 0.0)
        total = np.maximum(weight.sum(axis=0), np.finfo(np.float64).tiny)
        mean = np.abs((weight * self.residual).sum(axis=0)) / total
        worst = int(np.argmax(mean))
        return StarResiduals(
            typical=float(np.sqrt(max(float(np.median(square)), 0.0))),
            stacked=float(mean[worst]),
            stacked_err=float(1.0 / np.sqrt(total[worst])),
            n_stars=len(self.residual),
        )


def star_residuals(judging: JudgingStars, psf: Psf) -> StarResiduals:
    """Judge a PSF by stars; flux, position and local sky of each are fitted.

    Raises
    ------
    ValueError
        If there is no star.
    """
    return _cores(judging, psf).pooled()


def held_out_residuals(judging: JudgingStars, config: PsfFitConfig, *, folds: int = 5) -> StarResiduals:
    """Judge the fit of a PSF by stars that it has not seen: each n-th is left out, in turn.

    Parameters
    ----------
    judging : JudgingStars
        Stars to fit and to judge by.
    config : PsfFitConfig
        How the PSF is fitted.
    folds : int, optional
        At a time, one star in so many is left out.

    Returns
    -------
    residuals : StarResiduals
        Of all stars, each by the fit without it.

    Raises
    ------
    TooFewSourcesError
        If those that are left are too few for a fit.
    ValueError
        If there are fewer stars than folds.
    """
    stars = judging.stars
    if len(stars) < folds:
        message = f"{folds} folds need at least as many stars, found {len(stars)}"
        raise ValueError(message)
    fold = np.arange(len(stars)) % folds
    parts = []
    for k in range(folds):
        fit = fit_psf(judging.pixels, stars[fold != k], judging.sigma, config)
        parts.append(_cores(replace(judging, stars=stars[fold == k]), fit.psf))
    residual, variance, usable = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("residual", "variance", "usable")
    )
    return _Cores(residual, variance, usable).pooled()


def _cores(judging: JudgingStars, psf: Psf) -> _Cores:
    """Fit flux, position and sky of each star with a given PSF, and return what is left of the cores."""
    stars = judging.stars
    if len(stars) == 0:
        raise ValueError("a PSF cannot be judged without stars")
    stamps = StarStamps.cut(judging.pixels, stars, psf.size)
    local = make_local_psfs(psf, stars["x"], stars["y"])
    core = radius_of(psf.size) <= CORE_RADIUS_SIGMA * judging.sigma
    offsets = np.stack([stamps.dx, stamps.dy], axis=1).astype(np.float64)
    for _ in range(CENTRE_ROUNDS):
        drawn = draw_local_psfs(local, offsets, psf.size // 2)
        fitted = stamps.fit_amplitudes(drawn[:, 0], stamps.usable)
        offsets += _shifts(stamps, drawn, fitted, core)
    model = draw_local_psfs(local, offsets, psf.size // 2)[:, 0]
    fitted = stamps.fit_amplitudes(model, stamps.usable)
    peak = model.max(axis=(1, 2))[:, None, None]
    return _Cores(
        (stamps.residuals(model, fitted) / peak)[:, core],
        (stamps.variance / (fitted.flux[:, None, None] * peak) ** 2)[:, core],
        stamps.usable[:, core],
    )


def _shifts(stamps: StarStamps, drawn: FloatArray, fitted: Amplitudes, core: NDArray[np.bool_]) -> FloatArray:
    """Step of the least-squares fit of flux and position to the cores, as shifts x, y of each star [pixel].

    ``drawn`` (n, 3, size, size) are the PSF and its derivatives; all pixels count alike.
    """
    rest = fitted.flux[:, None, None] * stamps.residuals(drawn[:, 0], fitted)
    shifts = np.zeros((len(drawn), 2))
    for k, used in enumerate(stamps.usable & core):
        design = drawn[k][:, used].T
        if len(design) > design.shape[1]:
            step = np.linalg.lstsq(design, rest[k][used], rcond=None)[0]
            shifts[k] = np.clip(step[1:] / fitted.flux[k], -MAX_STEP_PIXEL, MAX_STEP_PIXEL)
    return shifts
