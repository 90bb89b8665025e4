import sys

import numpy as np
import pytest
from astropy import units
from astropy.table import Table

from astra.errors import ConfigError
from astra.products.spectra import read_ap_star, read_ap_visit, read_aspcap_star, read_spec
from tests.products.synthetic_spectra import write_ap_star, write_ap_visit, write_aspcap_star, write_spec


def test_table_has_a_row_for_each_spectrum_and_survives_a_file(tmp_path):
    spectrum = read_ap_star(write_ap_star(tmp_path / "s.fits", n_visits=3))
    table = spectrum.to_table()
    assert len(table) == 5
    assert table["kind"].tolist() == list(spectrum.kind)
    assert np.array_equal(table["flux"], spectrum.flux)
    assert table["wavelength"].unit == units.AA
    assert table["ivar"].unit == units.Unit("1e-17 erg / (s cm2 Angstrom)") ** -2
    assert table.meta["frame"] == "rest"
    table["flux"][0, 0] = 1e9
    assert spectrum.flux[0, 0] != 1e9
    spectrum.to_table().write(tmp_path / "t.fits")
    back = Table.read(tmp_path / "t.fits")
    for name in ("flux", "ivar", "pixel_flags", "bad", "wavelength"):
        assert np.array_equal(back[name], spectrum.to_table()[name]), name
    assert np.allclose(back["v_rad"], spectrum.v_rad)
    assert back["flux"].unit.is_equivalent(units.Unit("erg / (s cm2 Angstrom)"))


def test_planes_are_columns_with_the_unit_of_the_flux(tmp_path):
    table = read_aspcap_star(write_aspcap_star(tmp_path / "f.fits")).to_table()
    assert table["model"].shape == (1, 8575)
    assert table["flux"].unit == units.dimensionless_unscaled


@pytest.mark.parametrize("write", [write_ap_visit, write_ap_star, write_spec])
def test_specutils_gets_flux_noise_and_mask(tmp_path, write):
    pytest.importorskip("specutils")
    read = {write_ap_visit: read_ap_visit, write_ap_star: read_ap_star, write_spec: read_spec}[write]
    spectrum = read(write(tmp_path / "s.fits"))
    made = spectrum.to_specutils()
    only = 0 if spectrum.n_rows == 1 else slice(None)
    assert np.array_equal(made.flux.value, spectrum.flux[only])
    assert np.allclose(made.spectral_axis.to_value("Angstrom"), spectrum.wavelength, rtol=1e-12)
    assert np.array_equal(made.uncertainty.array, spectrum.ivar[only])
    assert np.array_equal(made.mask, spectrum.bad[only])
    assert made.meta["kind"] == spectrum.kind


def test_absence_of_specutils_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "specutils", None)
    spectrum = read_ap_visit(write_ap_visit(tmp_path / "v.fits"))
    with pytest.raises(ConfigError, match="needs the package specutils"):
        spectrum.to_specutils()
