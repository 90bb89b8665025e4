"""Numbers of one source on its stamps, for the features of `astra.images.reliability_features`.

Compiled loops that add in a fixed order, so that every machine finds the same numbers. A stamp ``d`` is the
difference with its sign turned so that the source is positive, ``w`` the inverse variance, 0 for a pixel that
cannot be used, ``p`` the PSF of unit sum, ``t`` one of the images that were subtracted; all have shape
(size, size).
"""

from __future__ import annotations

import numpy as np

from astra.compiled import part
from astra.images.exposure import (
    MASK_BAD,
    MASK_CR,
    MASK_INTRP,
    MASK_NO_DATA,
    MASK_SAT,
    MASK_SAT_TEMPLATE,
)

RING_EDGES = np.array([0.0, 0.5, 1.0, 1.5, 2.25, 3.0])  # [FWHM]
N_RINGS = len(RING_EDGES) - 1
FIT_RADIUS = 1.75  # of the fits of point source and template [FWHM]
RIDGE = 1e-9
N_SHAPE = 5
N_LOBES = 5
N_SURROUNDINGS = 6
_KINDS = (MASK_SAT | MASK_SAT_TEMPLATE, MASK_BAD | MASK_CR, MASK_INTRP, MASK_NO_DATA)
_LOOKED_FOR = _KINDS[0] | _KINDS[1] | _KINDS[2] | _KINDS[3]


@part
def fit_template_and_point(d, w, t, p, centre, radius):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Squared signal to noise of a difference, and what explains it.

    Returns the sum of ``w d**2``, the part of it that a point source explains, the part that template and its
    gradient explain (an error of scale and position), what the point source explains besides, and the number
    of pixels.
    """
    size = d.shape[0]
    matrix, right, basis = np.zeros((4, 4)), np.zeros(4), np.empty(4)
    total, count = 0.0, 0.0
    for j in range(1, size - 1):
        for i in range(1, size - 1):
            y, x = j - centre[1], i - centre[0]
            if w[j, i] == 0.0 or y * y + x * x > radius * radius:
                continue
            basis[0] = t[j, i]
            basis[1] = 0.5 * (t[j, i + 1] - t[j, i - 1])
            basis[2] = 0.5 * (t[j + 1, i] - t[j - 1, i])
            basis[3] = p[j, i]
            total, count = total + w[j, i] * d[j, i] * d[j, i], count + 1.0
            for k in range(4):
                right[k] += w[j, i] * basis[k] * d[j, i]
                for m in range(k + 1):
                    matrix[k, m] += w[j, i] * basis[k] * basis[m]
    point = right[3] * right[3] / matrix[3, 3] if matrix[3, 3] > 0.0 else 0.0
    explain_in_order(matrix, right)
    other = right[0] * right[0] + right[1] * right[1] + right[2] * right[2]
    return total, point, other, right[3] * right[3], count


@part
def explain_in_order(matrix, right):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Turn the right side of normal equations into amplitudes: each explains what those before it left.

    It is a Cholesky factorisation, in place; a small ridge keeps it finite where two terms are alike.
    """
    for k in range(len(right)):
        diagonal = matrix[k, k] * (1.0 + RIDGE) + 1e-300
        for m in range(k):
            for q in range(m):
                matrix[k, m] -= matrix[k, q] * matrix[m, q]
            matrix[k, m] /= matrix[m, m]
            diagonal -= matrix[k, m] * matrix[k, m]
            right[k] -= matrix[k, m] * right[m]
        matrix[k, k] = np.sqrt(max(diagonal, RIDGE * matrix[k, k] + 1e-300))
        right[k] /= matrix[k, k]


@part
def ring_residuals(d, w, p, centre, fwhm, flux, out):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fill what a point source of some flux leaves in rings; NaN where a ring has no pixel.

    The sum of the pulls, and that of their squares above what noise has, each over its own scatter by noise:
    both mean the same for sharp and broad PSFs.
    """
    size = d.shape[0]
    count = np.zeros(N_RINGS)
    out[:] = 0.0
    for j in range(size):
        for i in range(size):
            radius = np.hypot(j - centre[1], i - centre[0]) / fwhm
            if w[j, i] == 0.0 or radius >= RING_EDGES[N_RINGS]:
                continue
            ring = 0
            while radius >= RING_EDGES[ring + 1]:
                ring += 1
            pull = (d[j, i] - flux * p[j, i]) * np.sqrt(w[j, i])
            out[0, ring] += pull
            out[1, ring] += pull * pull
            count[ring] += 1.0
    for ring in range(N_RINGS):
        n = count[ring]
        out[0, ring] = out[0, ring] / np.sqrt(n) if n > 0.0 else np.nan
        out[1, ring] = (out[1, ring] - n) / np.sqrt(2.0 * n) if n > 0.0 else np.nan


@part
def extreme_pulls(d, w, p, centre, radius, flux):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Highest and lowest pull that a point source of some flux leaves within a radius."""
    size = d.shape[0]
    highest, lowest = 0.0, 0.0
    for j in range(size):
        for i in range(size):
            if w[j, i] > 0.0 and np.hypot(j - centre[1], i - centre[0]) < radius:
                pull = (d[j, i] - flux * p[j, i]) * np.sqrt(w[j, i])
                highest, lowest = max(highest, pull), min(lowest, pull)
    return highest, lowest


@part
def shape_numbers(d, w, p, centre, fwhm, out):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Fill: dipole and quadrupole over the sum of moduli; negative over positive; sharpness; usable part.

    The sharpness is the share of the brightest pixel in the positive flux within one FWHM, over that of the
    PSF.
    """
    size = d.shape[0]
    moments = np.zeros(6)  # cos, sin of one and two angles; positive and negative sum
    core, top, model, model_top = 0.0, 0.0, 0.0, 0.0
    usable, whole = 0.0, 0.0
    for j in range(size - 1):
        for i in range(size - 1):
            y, x = j - centre[1], i - centre[0]
            radius = np.hypot(x, y) / fwhm
            if radius >= 2.0:
                continue
            whole += p[j, i]
            if w[j, i] == 0.0:
                continue
            usable += p[j, i]
            if radius > 0.0:
                c, s = x / (radius * fwhm), y / (radius * fwhm)
                moments[0] += c * d[j, i]
                moments[1] += s * d[j, i]
                moments[2] += (c * c - s * s) * d[j, i]
                moments[3] += 2.0 * c * s * d[j, i]
            moments[4 if d[j, i] > 0.0 else 5] += abs(d[j, i])
            if radius < 1.0:
                core, model = core + max(d[j, i], 0.0), model + p[j, i]
                top, model_top = max(top, d[j, i]), max(model_top, p[j, i])
    modulus = moments[4] + moments[5]
    out[0] = np.hypot(moments[0], moments[1]) / modulus if modulus > 0.0 else np.nan
    out[1] = np.hypot(moments[2], moments[3]) / modulus if modulus > 0.0 else np.nan
    out[2] = moments[5] / moments[4] if moments[4] > 0.0 else np.nan
    out[3] = top * model / (core * model_top) if core > 0.0 and model_top > 0.0 else np.nan
    out[4] = usable / whole if whole > 0.0 else 0.0


@part
def steepness(d, w, p, centre, fwhm):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Largest step between neighbouring pixels within one FWHM, over that of the PSF of the same sum."""
    size = d.shape[0]
    core, model, step, model_step = 0.0, 0.0, 0.0, 0.0
    for j in range(size - 1):
        for i in range(size - 1):
            if w[j, i] == 0.0 or np.hypot(i - centre[0], j - centre[1]) >= fwhm:
                continue
            core, model = core + max(d[j, i], 0.0), model + p[j, i]
            for below in range(2):
                y, x = j + below, i + 1 - below
                if w[y, x] > 0.0:
                    step = max(step, abs(d[j, i] - d[y, x]))
                    model_step = max(model_step, abs(p[j, i] - p[y, x]))
    return step * model / (core * model_step) if core > 0.0 and model_step > 0.0 else np.nan


@part
def smooth_snr(d, w, taps, snr):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill the signal to noise of a Gaussian source centred on each pixel, seen on good pixels alone."""
    size, half = d.shape[0], len(taps) // 2
    rows = np.zeros((2, size, size))
    for j in range(size):
        for i in range(size):
            for k in range(max(-half, -i), min(half, size - 1 - i) + 1):
                if w[j, i + k] > 0.0:
                    rows[0, j, i] += taps[half + k] * d[j, i + k]
                    rows[1, j, i] += taps[half + k] * taps[half + k] / w[j, i + k]
    for i in range(size):
        for j in range(size):
            signal, noise = 0.0, 0.0
            for k in range(max(-half, -j), min(half, size - 1 - j) + 1):
                signal += taps[half + k] * rows[0, j + k, i]
                noise += taps[half + k] * taps[half + k] * rows[1, j + k, i]
            snr[j, i] = signal / np.sqrt(noise) if noise > 0.0 else 0.0


@part
def lobe_numbers(snr, centre, fwhm, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill: peak near the centre; deepest within 2 FWHM; highest, deepest and rms from 1.5 to 3 FWHM."""
    size = snr.shape[0]
    out[:] = 0.0
    count = 0.0
    for j in range(size):
        for i in range(size):
            radius = np.hypot(j - centre[1], i - centre[0]) / fwhm
            if radius < 0.75:
                out[0] = max(out[0], snr[j, i])
            if radius < 2.0:
                out[1] = max(out[1], -snr[j, i])
            if 1.5 <= radius < 3.0:
                out[2] = max(out[2], snr[j, i])
                out[3] = max(out[3], -snr[j, i])
                out[4] += snr[j, i] * snr[j, i]
                count += 1.0
    out[4] = np.sqrt(out[4] / count) if count > 0.0 else np.nan


@part
def line_snr(d, w, centre, fwhm):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Largest signal to noise of three rows or columns through the centre, outside 1.5 FWHM of it."""
    size = d.shape[0]
    middle_x, middle_y = int(np.rint(centre[0])), int(np.rint(centre[1]))
    largest = 0.0
    for axis in range(2):
        middle = middle_x if axis == 0 else middle_y
        for line in range(max(middle - 1, 0), min(middle + 2, size)):
            signal, noise = 0.0, 0.0
            for k in range(size):
                j, i = (k, line) if axis == 0 else (line, k)
                if w[j, i] > 0.0 and np.hypot(j - centre[1], i - centre[0]) > 1.5 * fwhm:
                    signal += d[j, i]
                    noise += 1.0 / w[j, i]
            if noise > 0.0:
                largest = max(largest, abs(signal) / np.sqrt(noise))
    return largest


@part
def surroundings(masks, image, position, reach, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fill distances [pixel] to the nearest saturated, defective, interpolated and missing pixel.

    Of any of three masks. Then the brightest pixel of the image, and its distance.
    What is not found within ``reach`` [pixel] is at infinity; beyond the image everything is missing.
    """
    ny, nx = image.shape
    x, y = int(np.rint(position[0])), int(np.rint(position[1]))
    out[:4] = np.inf
    out[4], out[5] = -np.inf, np.inf
    for j in range(y - reach, y + reach + 1):
        for i in range(x - reach, x + reach + 1):
            inside = 0 <= j < ny and 0 <= i < nx
            bits = (
                (masks[0][j, i] | masks[1][j, i] | masks[2][j, i]) & _LOOKED_FOR if inside else MASK_NO_DATA
            )
            brighter = inside and image[j, i] > out[4]
            if bits == 0 and not brighter:
                continue
            distance = np.hypot(j - position[1], i - position[0])
            if distance > reach:
                continue
            for k in range(4):
                if bits & _KINDS[k] and distance < out[k]:
                    out[k] = distance
            if brighter:
                out[4], out[5] = image[j, i], distance
