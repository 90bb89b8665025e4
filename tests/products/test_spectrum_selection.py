import numpy as np
import pytest

from astra.errors import ConfigError
from astra.products.spectra import read_ap_star, read_ap_visit, read_spec
from astra.products.spectrum_selection import refused_rows, selected, star_flags
from astra.spectra.masks import ApogeePixel, ApogeeStar, bits_of
from tests.products.synthetic_spectra import write_ap_star, write_ap_visit, write_spec


def test_bad_pixels_are_those_of_the_named_bits(tmp_path):
    visit = read_ap_visit(write_ap_visit(tmp_path / "visit.fits"))
    n_void = int((visit.ivar == 0).sum())
    assert selected(visit, "default", "") is visit
    assert selected(visit, "none", "").bad.sum() == n_void
    assert selected(visit, "persist_high, CRPIX", "").bad.sum() == n_void + 1
    assert selected(visit, "BADPIX", "").bad.sum() == n_void + 1
    spec = read_spec(write_spec(tmp_path / "spec.fits"))
    both = selected(spec, "BRIGHTSKY,NEARBADPIXEL", "")
    assert both.bad.sum() == selected(spec, "none", "").bad.sum() + 2
    with pytest.raises(ConfigError, match="NOSUCHBIT is no bit"):
        selected(visit, "NOSUCHBIT", "")


def test_rows_with_refused_flags_have_no_good_pixel(tmp_path):
    star = read_ap_star(
        write_ap_star(tmp_path / "star.fits", n_visits=3, STARFLAG=(1 << 19) | 4, FLAG1=4, FLAG2=1 << 19)
    )
    assert star_flags(star).tolist() == [(1 << 19) | 4] * 2 + [4, 1 << 19, 0]
    assert refused_rows(star, "RV_REJECT").tolist() == [True, True, False, True, False]
    found = selected(star, "default", "RV_REJECT")
    assert found.bad.all(axis=1).tolist() == [True, True, False, True, False]
    assert (found.ivar[0] == 0).all()
    assert np.array_equal(found.ivar[2], star.ivar[2])
    visit = read_ap_visit(write_ap_visit(tmp_path / "visit.fits", STARFLAG=1))
    assert refused_rows(visit, "BAD_PIXELS").all()
    with pytest.raises(ConfigError, match="is no bit"):
        refused_rows(visit, "CRPIX")


def test_names_stand_for_bits_of_each_mask_that_has_them():
    assert bits_of("PERSIST_HIGH,LOW_SNR", ApogeePixel, ApogeeStar) == (1 << 9, (1 << 9) | (1 << 4))
    assert bits_of("", ApogeePixel) == (0,)
