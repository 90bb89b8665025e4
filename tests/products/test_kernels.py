"""Matching kernels as files."""

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError, MissingDataError
from astra.images.spatial import SpatialKernel
from astra.products.catalogs import write_catalog
from astra.products.kernels import read_kernel, write_kernel


def make_kernel():
    coefficients = np.random.default_rng(1).normal(size=(6, 11, 11))
    return SpatialKernel(coefficients, 2, 511.5, 383.5, 512.0)


def test_a_kernel_comes_back_bit_for_bit(tmp_path):
    kernel = make_kernel()
    write_kernel(tmp_path / "kernel.fits", kernel, metadata={"kernelChi2": 1.25})
    back = read_kernel(tmp_path / "kernel.fits")
    np.testing.assert_array_equal(back.coefficients, kernel.coefficients)
    np.testing.assert_array_equal(back.at(100.0, 700.0), kernel.at(100.0, 700.0))
    assert (back.order, back.x_centre, back.y_centre, back.scale) == (2, 511.5, 383.5, 512.0)


def test_other_programs_find_the_images_and_the_geometry(tmp_path):
    write_kernel(tmp_path / "kernel.fits", make_kernel())
    with fits.open(tmp_path / "kernel.fits") as hdus:
        assert hdus["KERNEL"].data.shape == (6, 11, 11)
        assert [hdus["KERNEL"].header[key] for key in ("KORDER", "KXC", "KYC", "KSCALE")] == [
            2,
            511.5,
            383.5,
            512,
        ]


def test_what_is_no_kernel_is_refused_by_name(tmp_path):
    with pytest.raises(MissingDataError, match=r"none\.fits"):
        read_kernel(tmp_path / "none.fits")
    write_catalog(tmp_path / "src.fits", np.zeros(2, dtype=[("x", "f8")]))
    with pytest.raises(FormatError, match=r"src\.fits is not a kernel"):
        read_kernel(tmp_path / "src.fits")
