"""What a method of image subtraction takes and gives; `astra.plugins` finds one by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from astra.images.difference_config import DifferenceConfig
from astra.images.exposure import Exposure
from astra.images.spatial import SpatialKernel


@dataclass(frozen=True)
class Subtraction:
    """A difference image and what it is made of.

    Parameters
    ----------
    difference : Exposure
        Science minus template on the grid and in the flux scale of the science image, with its own PSF,
        variance and mask.
    matched_template : Exposure
        What was subtracted: the template in the flux scale of the science image.
    kernel : SpatialKernel, optional
        Matching kernel; None for a method without one.
    score : Exposure, optional
        Signal to noise of a point source at every pixel, where the method gives it directly.
    metrics : dict of str to float
        Quality figures of the subtraction.
    """

    difference: Exposure
    matched_template: Exposure
    kernel: SpatialKernel | None = None
    score: Exposure | None = None
    metrics: dict[str, float] = field(default_factory=dict)


class SubtractionMethod(ABC):
    """A way to subtract a template from a science image on the same grid."""

    @abstractmethod
    def subtract(self, science: Exposure, template: Exposure, config: DifferenceConfig) -> Subtraction:
        """Subtract.

        Parameters
        ----------
        science, template : Exposure, shape (ny, nx)
            Calibrated [nJy], background subtracted, on one grid, with PSF; the noise of the template may be
            coloured (`Exposure.noise_power`).
        config : DifferenceConfig

        Raises
        ------
        TooFewSourcesError
            If too few sources are there for what is fitted.
        KernelFitError
            If there is no solution.
        """
