"""Correlations of many spectra with many templates over a limited range of shifts.

The spectra are cut into blocks. In the Fourier domain the products of all blocks add up before the one
inverse transform of a pair of spectrum and template, and the sum over blocks of all pairs is a product of
matrices: 36 templates cost little more than one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft


@dataclass(frozen=True)
class BlockTransform:
    """How spectra are cut into blocks.

    Parameters
    ----------
    n_pixels : int
        Of each spectrum.
    max_shift : int
        Largest shift [pixel], to both sides.
    """

    n_pixels: int
    max_shift: int
    block: int = field(init=False)
    n_blocks: int = field(init=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        if self.n_pixels < 1 or self.max_shift < 0:
            message = f"{self.n_pixels} pixels cannot be correlated over {self.max_shift} pixels of shift"
            raise ValueError(message)
        length = fft.next_fast_len(max(4 * self.max_shift, 512), real=True)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "block", length - 2 * self.max_shift)
        object.__setattr__(self, "n_blocks", -(-self.n_pixels // self.block))

    @property
    def shifts(self) -> NDArray[np.int64]:
        """All shifts [pixel], shape (2 max_shift + 1,)."""
        return np.arange(-self.max_shift, self.max_shift + 1)

    def of_data(self, data: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Transform data, shape (n, n_pixels), to (n_frequencies, n, n_blocks)."""
        padded = np.zeros((len(data), self.n_blocks * self.block), np.float32)
        padded[:, : self.n_pixels] = data
        blocks = padded.reshape(len(data), self.n_blocks, self.block)
        return np.ascontiguousarray(np.moveaxis(fft.rfft(blocks, self.length, axis=2), 2, 0))

    def of_templates(self, templates: NDArray[np.float32]) -> NDArray[np.complex64]:
        """Transform templates, shape (m, n_pixels), to (n_frequencies, n_blocks, m), conjugate."""
        padded = np.zeros((len(templates), self.n_blocks * self.block + 2 * self.max_shift), np.float32)
        padded[:, self.max_shift : self.max_shift + self.n_pixels] = templates
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.length, axis=1)[:, :: self.block]
        return np.ascontiguousarray(np.transpose(np.conj(fft.rfft(windows, axis=2)), (2, 1, 0)))

    def correlate(self, data: NDArray[np.complex64], templates: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Correlate what `of_data` and `of_templates` give.

        Returns
        -------
        correlation : float32 ndarray, shape (n, m, n_shifts)
            Sum over x of data(x) times template(x - shift).
        """
        product = np.ascontiguousarray(np.moveaxis(data @ templates, 0, 2))
        circular: NDArray[np.float32] = fft.irfft(product, self.length, axis=2, overwrite_x=True)
        first = self.length - 2 * self.max_shift
        return np.concatenate([circular[:, :, first:], circular[:, :, :1]], axis=2)
