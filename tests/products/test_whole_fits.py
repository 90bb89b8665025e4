"""A FITS file that was cut off anywhere is told from one that is all there."""

import gzip

import numpy as np
import pytest
from astropy.io import fits

from astra.errors import FormatError, MissingDataError
from astra.products.whole_fits import BLOCK_BYTES, data_bytes, is_fits, require_whole


@pytest.fixture
def content(tmp_path):
    """Bytes of a file with an empty primary HDU, an image, a packed image and a table."""
    pixels = np.random.default_rng(1).integers(0, 9999, (70, 50), dtype=np.int16)
    table = fits.BinTableHDU(np.array([(1, b"x" * 3000)], dtype=[("A", "i4"), ("B", "S3000")]))
    path = tmp_path / "whole.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels), fits.CompImageHDU(pixels), table]).writeto(path)
    return path.read_bytes()


def test_a_whole_file_is_whole_however_it_is_packed(tmp_path, content):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    assert require_whole(path) == 4
    path.write_bytes(gzip.compress(content))
    assert require_whole(path) == 4
    assert is_fits(path)


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path, content):
    path = tmp_path / "a.fits"
    path.write_bytes(content)
    with fits.open(path, disable_image_compression=True) as hdus:
        ends = [(hdu.fileinfo()["datLoc"] + data_bytes(hdu.header), hdu.fileinfo()) for hdu in hdus]
    # Where the data of an HDU are all there, nothing tells of those that follow; its last block may be open.
    may_end = {n for last, info in ends for n in range(last, info["datLoc"] + info["datSpan"] + 1)}
    sizes = [size for size in range(BLOCK_BYTES, len(content), 487) if size not in may_end]
    assert len(sizes) > 30
    for size in sizes:
        path.write_bytes(content[:size])
        with pytest.raises(FormatError, match=r"a\.fits is cut off in HDU \d: "):
            require_whole(path)


@pytest.mark.parametrize("lost", [1, 8, 5000])
def test_a_gzipped_file_that_is_cut_off_is_refused(tmp_path, content, lost):
    path = tmp_path / "a.fits.gz"
    path.write_bytes(gzip.compress(content)[:-lost])
    with pytest.raises(FormatError, match=r"a\.fits\.gz is (a gzipped file that is )?cut off"):
        require_whole(path)


def test_a_gzipped_file_with_wrong_bytes_is_refused(tmp_path, content):
    packed = bytearray(gzip.compress(content))
    packed[-6] ^= 0xFF  # of the checksum
    path = tmp_path / "a.fits.gz"
    path.write_bytes(packed)
    with pytest.raises(FormatError, match="cut off or damaged"):
        require_whole(path)


def test_what_is_no_fits_file_is_refused(tmp_path):
    path = tmp_path / "a.fits"
    for junk in (b"", b"junk" * 5000):
        path.write_bytes(junk)
        assert not is_fits(path)
        with pytest.raises(FormatError, match="is not a FITS file"):
            require_whole(path)
    with pytest.raises(MissingDataError, match=r"absent\.fits cannot be read"):
        require_whole(tmp_path / "absent.fits")


def test_a_last_block_that_is_open_and_special_records_are_allowed(tmp_path, content):
    path = tmp_path / "a.fits"
    path.write_bytes(content.rstrip(b"\0"))
    assert require_whole(path) == 4
    path.write_bytes(content + b"special" * 1000)
    assert require_whole(path) == 4


def test_a_header_that_does_not_tell_its_size_is_refused(tmp_path):
    card = "SIMPLE  =                    T".ljust(80) + "BITPIX  =                   16".ljust(80)
    path = tmp_path / "a.fits"
    path.write_bytes((card + "END").ljust(BLOCK_BYTES).encode())
    with pytest.raises(FormatError, match="does not say how long its data are"):
        require_whole(path)


def test_size_of_data_follows_the_standard():
    header = fits.Header([("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", 7), ("NAXIS2", 3)])
    assert data_bytes(header) == 84
    header = fits.Header(
        [("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", 10), ("NAXIS2", 4), ("PCOUNT", 60), ("GCOUNT", 1)]
    )
    assert data_bytes(header) == 100
    groups = fits.Header(
        [
            ("BITPIX", 16),
            ("NAXIS", 3),
            ("NAXIS1", 0),
            ("NAXIS2", 5),
            ("NAXIS3", 2),
            ("GROUPS", True),
            ("PCOUNT", 4),
            ("GCOUNT", 3),
        ]
    )
    assert data_bytes(groups) == 2 * 3 * (4 + 10)
