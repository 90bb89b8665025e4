"""Labels that people give."""

import numpy as np
import pytest
from astropy.table import Table

from astra.errors import FormatError, MissingDataError
from astra.products.reliability_labels import read_labels, read_positions

LARGE = 2**62 + 12345  # a float would lose its last digits


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits"])
def test_ids_keep_all_their_digits(tmp_path, ending):
    path = tmp_path / f"labels.{ending}"
    rows = Table({"diaSourceId": np.array([LARGE, 7]), "label": np.array([1, 0])})
    rows.write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "fits": "fits"}[ending])
    found = read_labels(path)
    assert found.ids.tolist() == [LARGE, 7]
    assert found.labels.tolist() == [1, 0]


def test_labels_may_be_written_as_truth_values(tmp_path):
    (tmp_path / "labels.csv").write_text("diaSourceId,label,who\n1,True,me\n2,False,me\n3,1.0,me\n")
    assert read_labels(tmp_path / "labels.csv").labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diaSourceId,other\n1,1\n", "needs a column label, found diaSourceId, other"),
        ("id,label\n1,1\n", "needs a column diaSourceId"),
        ("diaSourceId,label\n1,2\n", r"a label must be 1 \(real\) or 0 \(artefact\), found 2"),
        ("diaSourceId,label\n1,\n", "column label must hold numbers"),
        ("diaSourceId,label\n1.5,1\n", "column diaSourceId must hold whole numbers"),
        ("diaSourceId,label\n1,1\n1,0\n", "more than one label of diaSourceId 1"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_labels(tmp_path / "labels.csv")


def test_missing_table_is_named(tmp_path):
    with pytest.raises(MissingDataError):
        read_labels(tmp_path / "labels.csv")


def test_positions_are_read(tmp_path):
    (tmp_path / "known.csv").write_text("ra,dec\n351.70379,0.19755\n")
    ra, dec = read_positions(tmp_path / "known.csv")
    assert (ra.tolist(), dec.tolist()) == ([351.70379], [0.19755])
    (tmp_path / "known.csv").write_text("ra\n1\n")
    with pytest.raises(FormatError, match="needs a column dec"):
        read_positions(tmp_path / "known.csv")
