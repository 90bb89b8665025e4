"""Weighted least squares on the few pixels round a source, compiled: reading, normal equations, solving."""

from __future__ import annotations

import numpy as np

from astra.compiled import part
from astra.images.exposure import MASK_BAD, MASK_NO_DATA, MASK_SAT, MASK_SAT_TEMPLATE

UNUSABLE = MASK_BAD | MASK_NO_DATA | MASK_SAT | MASK_SAT_TEMPLATE
LEAST_PIVOT = 1e-13  # of a diagonal element: less is a combination of parameters that the data do not know

# Sums may be reordered, but infinities and NaN keep their meaning.
SUMS = {"reassoc", "contract"}


@part
def read_stamp(planes, column, row, data, weight):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Copy pixels and inverse variances round a pixel into squares; 0 where a pixel cannot be used.

    ``planes`` are image, variance and mask. Returns how many pixels can be used.
    """
    image, variance, mask = planes
    ny, nx = image.shape
    side, n_data = data.shape[0], 0
    top, left = row - side // 2, column - side // 2
    data[:], weight[:] = 0.0, 0.0
    for j in range(max(0, -top), min(side, ny - top)):
        for i in range(max(0, -left), min(side, nx - left)):
            value, noise = image[top + j, left + i], variance[top + j, left + i]
            if mask[top + j, left + i] & UNUSABLE == 0 and np.isfinite(value) and 0.0 < noise < np.inf:
                data[j, i], weight[j, i] = value, 1.0 / noise
                n_data += 1
    return n_data


@part(fastmath=SUMS)
def dot(a, b):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum of products."""
    total = 0.0
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@part
def add_normal_equations(columns, places, data, weight, matrix, right):  # type: ignore[no-untyped-def]  # noqa: PLR0917  # pragma: no cover
    """Add the products of columns (k, pixels) among themselves and with the data, in the given places."""
    weighted = np.empty(columns.shape[1])
    for a in range(columns.shape[0]):
        for p in range(weighted.shape[0]):
            weighted[p] = columns[a, p] * weight[p]
        right[places[a]] += dot(weighted, data)
        for b in range(a, columns.shape[0]):
            value = dot(weighted, columns[b])
            matrix[places[a], places[b]] += value
            if b > a:
                matrix[places[b], places[a]] += value


@part
def factor(matrix):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Replace the lower triangle of a symmetric matrix by its Cholesky factor; whether that is possible."""
    n = matrix.shape[0]
    for a in range(n):
        least = LEAST_PIVOT * matrix[a, a]
        for b in range(a + 1):
            total = matrix[a, b]
            for k in range(b):
                total -= matrix[a, k] * matrix[b, k]
            if b < a:
                matrix[a, b] = total / matrix[b, b]
            elif total > least and total > 0.0:
                matrix[a, a] = np.sqrt(total)
            else:
                return False
    return True


@part
def solve_factored(lower, right):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Replace the right side by the solution, given the Cholesky factor."""
    n = lower.shape[0]
    for a in range(n):
        for k in range(a):
            right[a] -= lower[a, k] * right[k]
        right[a] /= lower[a, a]
    for a in range(n - 1, -1, -1):
        for k in range(a + 1, n):
            right[a] -= lower[k, a] * right[k]
        right[a] /= lower[a, a]


@part
def solve(matrix, right):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Solve symmetric positive equations in place of the right side; False, and zeros, if they are not."""
    if not factor(matrix):
        right[:] = 0.0
        return False
    solve_factored(matrix, right)
    return True


@part
def raise_pivot(system, right, a):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Exchange row ``a`` with that below of the largest element in its column; whether that is not 0."""
    pivot = a
    for b in range(a + 1, len(right)):
        if abs(system[b, a]) > abs(system[pivot, a]):
            pivot = b
    right[a], right[pivot] = right[pivot], right[a]
    for c in range(len(right)):
        system[a, c], system[pivot, c] = system[pivot, c], system[a, c]
    return abs(system[a, a]) > 0.0


@part
def eliminate(system, right):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Solve any equations in place of the right side, by elimination with pivots; False if singular.

    A few lines, where that of numpy takes seconds to compile for its calls of LAPACK.
    """
    n = len(right)
    for a in range(n):
        if not raise_pivot(system, right, a):
            return False
        for b in range(a + 1, n):
            ratio = system[b, a] / system[a, a]
            right[b] -= ratio * right[a]
            for c in range(a + 1, n):
                system[b, c] -= ratio * system[a, c]
    for a in range(n - 1, -1, -1):
        for c in range(a + 1, n):
            right[a] -= system[a, c] * right[c]
        right[a] /= system[a, a]
    return True
