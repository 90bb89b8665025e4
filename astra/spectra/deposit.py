"""Sums over the pixels of a spectrum, put onto a grid that is uniform in the logarithm.

A template t on the grid, seen at a pixel between grid points, is interpolated. The sums that least squares
needs are linear in t: Sum_i w_i d_i t(x_i) = Sum_j t_j Sum_i R_ij w_i d_i, where R are the weights of the
interpolation. So the data are put onto the grid by the transpose of the interpolation, once for all
templates and shifts: the spectrum is never interpolated, its noise stays that of its pixels, and masked
pixels simply are not there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled
from astra.spectra.grid import LogGrid


@dataclass(frozen=True)
class Deposit:
    """Spectra on a grid, as sums over their pixels.

    Parameters
    ----------
    grid : LogGrid
        The grid.
    data : float64 ndarray, shape (n_rows, n_pixels)
        Sums of weight times value, by interpolation of the fifth order.
    weight : float64 ndarray, shape (n_rows, n_pixels)
        Sums of weights (inverse variances), likewise; beside gaps they may be slightly negative.
    noise : float64 ndarray, shape (n_rows, n_pixels)
        Variance of ``data``; 0 where there are no data.
    """

    grid: LogGrid
    data: NDArray[np.float64]
    weight: NDArray[np.float64]
    noise: NDArray[np.float64]

    @classmethod
    def stack(cls, parts: list[Self]) -> Self:
        """Put deposits on one grid one after the other.

        Raises
        ------
        ValueError
            If there are none, or they are on several grids.
        """
        if len({part.grid for part in parts}) != 1:
            message = "deposits must be on one grid, to be stacked, and at least one"
            raise ValueError(message)
        names = [item.name for item in fields(cls)[1:]]
        return cls(
            parts[0].grid, *(np.concatenate([getattr(part, name) for part in parts]) for name in names)
        )

    def rows(self, chosen: slice) -> Self:
        """Return some of the spectra."""
        return type(self)(self.grid, self.data[chosen], self.weight[chosen], self.noise[chosen])

    def __len__(self) -> int:
        """Return the number of spectra."""
        return len(self.data)


def deposit(
    grid: LogGrid, wavelength: NDArray[np.float64], value: NDArray[np.float64], weight: NDArray[np.float64]
) -> Deposit:
    """Put a spectrum onto a grid.

    Parameters
    ----------
    grid : LogGrid
        Pixels that fall outside are lost.
    wavelength : float64 ndarray, shape (n,)
        [Angstrom].
    value, weight : float64 ndarray, shape (n_rows, n)
        What is measured, and its inverse variance; 0 or less, or NaN, is no measurement.

    Returns
    -------
    deposit : Deposit
    """
    position = grid.pixel_of(wavelength)
    sums = np.zeros((3, len(value), grid.n_pixels))
    usable = np.isfinite(value) & np.isfinite(weight) & (weight > 0)
    clean, known = np.where(usable, value, 0.0), np.where(usable, weight, 0.0)
    for row in range(len(value)):
        deposit_row(position, clean[row], known[row], sums[0, row], sums[1, row], sums[2, row])
    return Deposit(grid, *sums)


@compiled
def deposit_row(  # noqa: PLR0917
    position: NDArray[np.float64],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
    data: NDArray[np.float64],
    total: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> None:
    """Add the pixels of one spectrum to the sums of the grid, by 6-point Lagrange weights."""
    n_pixels = data.size
    for i in range(position.size):
        x = position[i]
        left = int(np.floor(x))
        if weight[i] <= 0.0 or left < 2 or left > n_pixels - 4:
            continue
        f = x - left
        inner, outer = (f + 1.0) * f * (f - 1.0) * (f - 2.0), (f + 2.0) * (f - 3.0)
        taps = (
            -inner * (f - 3.0) / 120.0,
            outer * f * (f - 1.0) * (f - 2.0) / 24.0,
            -outer * (f + 1.0) * (f - 1.0) * (f - 2.0) / 12.0,
            outer * (f + 1.0) * f * (f - 2.0) / 12.0,
            -outer * (f + 1.0) * f * (f - 1.0) / 24.0,
            inner * (f + 2.0) / 120.0,
        )
        for k in range(6):
            share = taps[k] * weight[i]
            data[left - 2 + k] += share * value[i]
            total[left - 2 + k] += share
            noise[left - 2 + k] += taps[k] * share
