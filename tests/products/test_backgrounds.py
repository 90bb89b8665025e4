import numpy as np
import pytest

from astra.errors import FormatError, MissingDataError
from astra.products.backgrounds import read_background, write_background
from astra.products.catalogs import write_catalog


def test_a_background_comes_back_bit_for_bit(tmp_path):
    sky = np.random.default_rng(1).normal(150.0, 3.0, (40, 61)).astype(np.float32)
    write_background(tmp_path / "bkgd.fits", sky, unit="nJy")
    found = read_background(tmp_path / "bkgd.fits")
    assert found.dtype == np.float32
    assert np.array_equal(found, sky)


def test_another_file_is_refused_by_name(tmp_path):
    write_catalog(tmp_path / "src.fits", np.zeros(2, dtype=[("x", "f8")]))
    with pytest.raises(FormatError, match=r"src\.fits is not a background"):
        read_background(tmp_path / "src.fits")
    with pytest.raises(MissingDataError):
        read_background(tmp_path / "absent.fits")
