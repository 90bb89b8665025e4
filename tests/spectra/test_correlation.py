import numpy as np
import pytest

from astra.spectra.correlation import BlockTransform
from astra.spectra.deposit import Deposit, deposit, deposit_row
from astra.spectra.grid import LogGrid


@pytest.mark.parametrize(("n_pixels", "max_shift"), [(1000, 40), (700, 0), (300, 299), (1, 3)])
def test_correlation_is_the_sum_over_pixels_at_each_shift(n_pixels, max_shift):
    rng = np.random.default_rng(1)
    data = rng.standard_normal((3, n_pixels)).astype(np.float32)
    templates = rng.standard_normal((2, n_pixels)).astype(np.float32)
    blocks = BlockTransform(n_pixels, max_shift)
    found = blocks.correlate(blocks.of_data(data), blocks.of_templates(templates))
    assert found.shape == (3, 2, 2 * max_shift + 1)
    for index, shift in enumerate(blocks.shifts):
        moved = np.zeros_like(templates)
        if shift >= 0:
            moved[:, shift:] = templates[:, : n_pixels - shift]
        else:
            moved[:, :shift] = templates[:, -shift:]
        assert found[:, :, index] == pytest.approx(data @ moved.T, abs=2e-3)


def test_senseless_sizes_are_refused():
    with pytest.raises(ValueError, match="cannot be correlated"):
        BlockTransform(0, 5)


def test_deposit_is_the_transpose_of_interpolation():
    rng = np.random.default_rng(2)
    grid = LogGrid(4.0, 1e-5, 200)
    wavelength = np.sort(10.0 ** rng.uniform(4.0 + 3e-5, 4.0 + 195e-5, 300))
    value, weight = rng.standard_normal((2, 300)), rng.uniform(0.0, 2.0, (2, 300))
    put = deposit(grid, wavelength, value, weight)
    x = np.arange(200.0)
    cubic = 0.3 + 0.02 * x - 1e-4 * x**2 + 1e-6 * x**3
    at = grid.pixel_of(wavelength)
    seen = 0.3 + 0.02 * at - 1e-4 * at**2 + 1e-6 * at**3
    assert (put.data * cubic).sum(axis=1) == pytest.approx((weight * value * seen).sum(axis=1))
    assert (put.weight * cubic).sum(axis=1) == pytest.approx((weight * seen).sum(axis=1))


def test_noise_of_a_deposit_is_its_scatter():
    rng = np.random.default_rng(3)
    grid = LogGrid(4.0, 1e-5, 60)
    wavelength = 10.0 ** np.linspace(4.0 + 5e-5, 4.0 + 55e-5, 80)
    weight = np.tile(rng.uniform(0.5, 2.0, 80), (4000, 1))
    put = deposit(grid, wavelength, rng.standard_normal((4000, 80)) / np.sqrt(weight), weight)
    inside = put.noise[0] > 0.1
    assert put.data[:, inside].std(axis=0) ** 2 == pytest.approx(put.noise[0, inside], rel=0.15)


def test_void_and_outer_pixels_are_lost_without_a_trace():
    grid = LogGrid(4.0, 1e-5, 20)
    wavelength = 10.0 ** np.array([3.9, 4.0 + 5e-5, 4.0 + 6e-5, 4.0 + 7e-5, 4.2])
    put = deposit(
        grid, wavelength, np.array([[1.0, np.nan, 1.0, np.inf, 1.0]]), np.array([[1, 1, 0, 1, 1.0]])
    )
    assert not put.data.any()
    assert not put.noise.any()
    stacked = Deposit.stack([put, put])
    assert len(stacked) == 2
    assert len(stacked.rows(slice(0, 1))) == 1
    with pytest.raises(ValueError, match="on one grid"):
        Deposit.stack([])


def test_kernel_of_the_deposit_is_that_of_lagrange():
    data, total, noise = np.zeros((3, 10))
    deposit_row.py_func(
        np.array([4.25, 0.2, 8.9]), np.array([2.0, 9.0, 9.0]), np.array([3.0, 1.0, 1.0]), data, total, noise
    )
    nodes = np.arange(2.0, 8.0)
    weights = [
        np.prod([(4.25 - other) / (node - other) for other in nodes if other != node]) for node in nodes
    ]
    assert data[2:8] == pytest.approx(6.0 * np.array(weights))
    assert total[2:8] == pytest.approx(3.0 * np.array(weights))
    assert noise[2:8] == pytest.approx(3.0 * np.array(weights) ** 2)
    assert data.sum() == pytest.approx(6.0)
