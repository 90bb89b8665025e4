import io
import math

import pytest
from astropy.io import fits

from astra.products.fits_cards import parse_cards


def header_of(text):
    return b"".join(line.encode("latin-1").ljust(80) for line in text)


def test_values_are_those_of_astropy():
    header = fits.Header(
        {"A": 1, "B": -2.5e-3, "C": True, "D": False, "E": "it's", "F": "", "G": "  lead", "LONG": "x" * 150}
    )
    header["HIERARCH a long key"] = 7
    header["COMMENT"] = "none"
    header["HISTORY"] = "A = 5"
    header["UNDEF"] = None
    found = parse_cards(header.tostring(padding=False).encode())
    assert found == {key: header[key] for key in header if key not in ("COMMENT", "HISTORY", "UNDEF")} | {
        "UNDEF": None
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("                   5 / five", 5),
        ("'5       '           / a text", "5"),
        ("             1.50D+02 / double", 150.0),
        ("'a / b''s'           / slash in a text", "a / b's"),
        ("T", True),
        ("                     / nothing", None),
        ("1_000", "1_000"),
        ("(1.0, 2.0)", "(1.0, 2.0)"),
    ],
)
def test_fields_of_any_form_are_read(field, value):
    found = parse_cards(header_of([f"KEY     = {field}", "END"]))["KEY"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("field", ["'NaN     '", "'nan'", "NAN", "                 NaN"])
def test_what_says_nan_is_nan(field):
    assert math.isnan(parse_cards(header_of([f"SNR     = {field}"]))["SNR"])


def test_first_of_a_repeated_key_counts_and_nothing_after_the_end():
    assert parse_cards(header_of(["A       = 1", "A       = 2", "END", "B       = 3"])) == {"A": 1}


def test_real_headers_are_read_as_astropy_reads_them(shared_data):
    paths = [
        *sorted((shared_data / "apogee").glob("apS*.fits")),
        *sorted((shared_data / "boss").glob("*.fits")),
    ]
    assert len(paths) == 8
    for path in paths:
        content = path.read_bytes()
        with fits.open(io.BytesIO(content)) as hdus:
            for hdu in hdus:
                info = hdu.fileinfo()
                found = parse_cards(content[info["hdrLoc"] : info["datLoc"]])
                expected = {
                    key: hdu.header[key] for key in hdu.header if key not in ("COMMENT", "HISTORY", "")
                }
                assert list(found) == list(expected)
                for key, value in expected.items():
                    same = found[key] == value or (isinstance(found[key], float) and math.isnan(found[key]))
                    assert same or isinstance(value, fits.card.Undefined), key
