"""Options of the fit of a matching kernel."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MatchingConfig:
    """How the kernel that matches two images is fitted.

    Parameters
    ----------
    kernel_sigmas_pixel : tuple of float
        Widths of the kernel's Gaussians for a seeing of 4 pixels FWHM [pixel]; they scale with the seeing.
    kernel_degrees : tuple of int
        Highest power of the polynomial on each Gaussian.
    fit_central_pixel : bool
        Add the central pixel alone, constant over the frame, to the Gaussians: images of equal seeing are
        hardly smoothed then, and an image subtracts itself.
    kernel_half_width_pixel : int
        Pixels from the kernel's centre to its edge.
    kernel_order : int
        Highest degree of the kernel in position; the degree that predicts left-out stamps best is used.
    background_order : int
        Degree in position of the sky that is fitted with the kernel.
    stamp_half_width_pixel : int
        Pixels from the centre to the edge of the fitted stamps.
    stamp_min_peak_snr : float
        Least signal to noise of a stamp's brightest pixel.
    stamps_per_cell : int
        Stamps per 128 pixel cell.
    max_stamps : int
        Stamps in all, the brightest.
    stamp_model_error : float
        Fraction of the flux added to its error in the fit.
    stamp_clip_sigma : float
        Stamps whose chi square exceeds the median by more than this are dropped. Loose, because every model
        error shows in the brightest stars first, and without them their cores are not matched.
    min_stamps : int
        Stamps that a kernel needs.
    max_sharpening : float
        Largest width of the convolved PSF over the other one, along any direction, with which the mode
        ``auto`` lets a kernel sharpen an image; beyond it for both images, it preconvolves.
    """

    kernel_sigmas_pixel: tuple[float, ...] = (0.7, 1.5, 3.0, 6.0)
    kernel_degrees: tuple[int, ...] = (6, 4, 2, 1)
    fit_central_pixel: bool = True
    kernel_half_width_pixel: int = 15
    kernel_order: int = 2
    background_order: int = 1
    stamp_half_width_pixel: int = 15
    stamp_min_peak_snr: float = 15.0
    stamps_per_cell: int = 5
    max_stamps: int = 300
    stamp_model_error: float = 0.002
    stamp_clip_sigma: float = 20.0
    min_stamps: int = 5
    max_sharpening: float = 1.15

    def __post_init__(self) -> None:
        if len(self.kernel_sigmas_pixel) != len(self.kernel_degrees):
            message = (
                f"{len(self.kernel_sigmas_pixel)} kernel widths need as many degrees, "
                f"found {len(self.kernel_degrees)}"
            )
            raise ValueError(message)
