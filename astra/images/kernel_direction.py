"""Which image of a pair a matching kernel may convolve: that which is the sharper one in every direction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astra.images.psf import Psf, sigma_from_fwhm

N_DIRECTIONS = 12
N_NODES = 3  # positions along each axis of the frame
SAME_WIDTH = 1.02  # ratio of widths within which two PSFs are alike
PROBED_FREQUENCY = 1.2  # over 1 / sigma: where a Gaussian has dropped to half, which its core decides


def width_ratios(science: Psf, template: Psf, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Widths of the science PSF over those of the template's PSF, over the frame and all directions.

    The widths are those of the Gaussians that fall as much at one spatial frequency: unlike moments,
    they do not depend on the far wings.

    Parameters
    ----------
    science, template : Psf
        On one grid.
    shape : tuple of int
        Frame (ny, nx) [pixel].

    Returns
    -------
    ratios : float64 ndarray, shape (n_positions, n_directions)
        Above 1 where the template is the sharper one.
    """
    angle = np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS
    directions = np.stack([np.sin(angle), np.cos(angle)])
    ratios = []
    for y in np.linspace(0, shape[0] - 1, N_NODES):
        for x in np.linspace(0, shape[1] - 1, N_NODES):
            fwhm_pixel = np.sqrt(science.fwhm_pixel(x, y) * template.fwhm_pixel(x, y))
            frequency = PROBED_FREQUENCY / sigma_from_fwhm(fwhm_pixel) * directions
            drops = [-np.log(_response(psf.stamp(x, y), frequency)) for psf in (science, template)]
            ratios.append(np.sqrt(drops[0] / drops[1]))
    return np.array(ratios)


def _response(stamp: NDArray[np.float64], frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Modulus of the Fourier transform of a PSF at frequencies along y and x [rad / pixel], within (0, 1)."""
    offset = np.arange(len(stamp)) - len(stamp) // 2
    along_y, along_x = (np.exp(-1j * axis[:, None] * offset) for axis in frequency)
    modulus = np.abs(np.einsum("nj,ji,ni->n", along_y, stamp, along_x)) / stamp.sum()
    clipped: NDArray[np.float64] = np.clip(modulus, 1e-6, 1 - 1e-6)
    return clipped


def choose_mode(science: Psf, template: Psf, shape: tuple[int, int], max_sharpening: float) -> str:
    """Choose what is convolved.

    Parameters
    ----------
    science, template : Psf
        On one grid.
    shape : tuple of int
        Frame (ny, nx) [pixel].
    max_sharpening : float
        Largest width of the convolved PSF over the other one, along any direction anywhere in the frame.

    Returns
    -------
    mode : {"convolve_template", "convolve_science", "preconvolve"}
        The one that is sharper over most of the frame, the template if they are alike, unless it would be
        sharpened too much somewhere; ``preconvolve`` if either would be.
    """
    ratios = width_ratios(science, template, shape)
    sharpening = {"convolve_template": 1 / ratios.min(), "convolve_science": ratios.max()}
    modes = list(sharpening)
    if choose_sharper(ratios) == "convolve_science":
        modes.reverse()
    return next((mode for mode in modes if sharpening[mode] <= max_sharpening), "preconvolve")


def choose_sharper(ratios: NDArray[np.float64]) -> str:
    """Mode that convolves the image that is sharper over most of the frame, or the template."""
    return "convolve_science" if np.median(ratios) < 1 / SAME_WIDTH else "convolve_template"
