import numpy as np
import pytest
from astropy.io import fits

from astra.products.fits_blocks import image_unit, primary_unit, table_unit, texts, write_units


def written(path, *units):
    write_units(path, units)
    file = fits.open(path, checksum=True)  # a wrong sum warns, which is an error here
    file.verify("exception")
    return file


def test_cards_of_any_type_are_read_by_astropy(tmp_path):
    cards = {
        "A": 1,
        "B": -2.5e-300,
        "C": True,
        "D": np.float32(0.1),
        "E": "it's",
        "F": "",
        "G": 1e22,
        "H": np.int64(-5),
        "I": 4.179,
        "LONG": "it's 'long' " * 30 + ".",
        "EMPTY": None,
        "a longer key": 3,
    }
    with written(tmp_path / "f.fits", primary_unit(cards)) as file:
        header = file[0].header
        for key, value in cards.items():
            assert header[key] == value, key
    with pytest.raises(ValueError, match="cannot hold nan"):
        primary_unit({"SNR": float("nan")})


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_images_are_read_by_astropy(tmp_path, dtype, shape):
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    with written(
        tmp_path / "f.fits", primary_unit({}), image_unit(values, {"BUNIT": "adu"}, "PLANE")
    ) as file:
        assert np.array_equal(file["PLANE"].data, values)
        assert file["PLANE"].header["BUNIT"] == "adu"


def test_table_and_empty_image_are_read_by_astropy(tmp_path):
    columns = {"name": texts(["a", "longer than that", ""], 6), "v": np.array([1.5, np.nan, -2.0])}
    columns["n"] = np.array([1, 2, 3], np.int32)
    units = [primary_unit({}), image_unit(None, {}), table_unit(columns, "T", {"v": "km/s"})]
    with written(tmp_path / "f.fits", *units) as file:
        assert file[1].data is None
        assert file["T"].data["name"].tolist() == ["a", "longer", ""]
        assert np.array_equal(file["T"].data["v"], columns["v"], equal_nan=True)
        assert file["T"].columns["v"].unit == "km/s"
        assert file["T"].data["n"].tolist() == [1, 2, 3]


def test_checksums_are_those_of_astropy_for_any_content(tmp_path):
    rng = np.random.default_rng(1)
    for number in range(40):
        values = rng.integers(0, 256, rng.integers(1, 9000)).astype(np.uint8)
        with written(
            tmp_path / f"{number}.fits", primary_unit({"N": number}), image_unit(values, {})
        ) as file:
            assert np.array_equal(file[1].data, values)


def test_structure_cannot_be_overwritten(tmp_path):
    with written(tmp_path / "f.fits", primary_unit({"NAXIS": 7, "SIMPLE": False, "OWN": 1})) as file:
        assert (file[0].header["NAXIS"], file[0].header["OWN"]) == (0, 1)
