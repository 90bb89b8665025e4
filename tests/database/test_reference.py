"""docs/database.md is what the models say, and says all of it."""

import re

import pytest
from sqlalchemy import Column, Integer, Table

from astra.cli import main
from astra.database import reference
from astra.database.meanings import TABLES, column_meaning
from astra.database.models import metadata
from tests.conftest import PROJECT

ROW = re.compile(r"\| `(\w+)` \| ([^|]+) \| (K?N?) \| ([^|]*) \| ([^|]+) \|")


def test_the_file_is_what_the_command_prints(capsys):
    assert main(["db", "reference"]) == 0
    printed = capsys.readouterr().out
    assert (PROJECT / "docs" / "database.md").read_text() == printed


def test_every_column_has_a_meaning_and_the_unit_of_its_table():
    sections = (PROJECT / "docs" / "database.md").read_text().split("\n## `")[1:]
    found = {section.partition("`")[0]: ROW.findall(section) for section in sections}
    assert set(found) == set(metadata.tables)
    for name, table in metadata.tables.items():
        assert [row[0] for row in found[name]] == [column.name for column in table.columns]
        for (_, _, marks, unit, meaning), column in zip(found[name], table.columns, strict=True):
            assert len(meaning) > 3
            assert marks == "K" * column.primary_key + "N" * column.nullable
            if column.comment:
                assert f"[{unit.strip()}]" == column.comment, f"{name}.{column.name}"


def test_nothing_is_described_that_is_not_there():
    for table, columns in TABLES.items():
        assert set(columns) <= set(metadata.tables[table].columns.keys()), table


def test_a_column_without_a_meaning_is_refused(monkeypatch):
    column = Column("unheard_of", Integer)
    table = Table("run_copy", metadata.__class__(), column)
    assert column_meaning(column) is None
    monkeypatch.setattr(reference, "OF_TABLES", {"run_copy": "A copy."})
    monkeypatch.setattr(reference, "metadata", table.metadata)
    with pytest.raises(ValueError, match="unheard_of of run_copy is described nowhere"):
        reference.make_reference({})
