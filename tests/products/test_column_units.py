import json
import re
from pathlib import Path

import pytest
from lsst.alert.packet import get_schema_path

from astra.images.dia_source_columns import DIA_SOURCE_DTYPE, NOT_MEASURED
from astra.products.column_units import column_units


def schema_fields():
    """Fields of an alert's diaSource, each with its unit, which stands in brackets in its description."""
    text = Path(get_schema_path(11, 1), "lsst.v11_1.diaSource.avsc").read_text()
    for field in json.loads(text)["fields"]:
        found = re.search(r"\[([^\]]+)\]\.?$", field["doc"].strip())
        yield field["name"], found.group(1) if found else None


def test_the_pipeline_fills_every_field_of_an_alert_that_it_can():
    fields = {name for name, _ in schema_fields()}
    measured = set(DIA_SOURCE_DTYPE.names)
    assert len(fields) > 90
    assert fields - measured == set(NOT_MEASURED)
    assert not measured & set(NOT_MEASURED)
    # Beyond the alerts there are only flags, of Rubin's catalogues.
    assert all(DIA_SOURCE_DTYPE[name].kind == "b" for name in measured - fields)


def test_units_are_those_that_the_schema_states():
    stated = {name: unit for name, unit in schema_fields() if unit and name not in NOT_MEASURED}
    units = column_units(DIA_SOURCE_DTYPE.names, shapes="arcsec**2")
    assert len(stated) > 40
    assert {name: units.get(name) for name in stated} == stated


def test_what_the_schema_calls_a_number_has_no_unit():
    stated = {name for name, unit in schema_fields() if unit}
    units = column_units(DIA_SOURCE_DTYPE.names, shapes="arcsec**2")
    assert set(units) - stated <= {"midpointMjdTai"}


@pytest.mark.parametrize(
    ("name", "unit"),
    [("ixx", "pixel**2"), ("psfInstFluxErr", "adu"), ("apFlux_12_0", "nJy"), ("dist_arcsec", "arcsec")],
)
def test_columns_of_other_catalogues_have_units(name, unit):
    assert column_units([name, "nothing"]) == {name: unit}
