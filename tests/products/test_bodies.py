import numpy as np
import pytest
from astropy.table import Table

from astra.errors import FormatError
from astra.products.bodies import read_bodies

BODIES = {
    "ssObjectId": [2**62 + 1, 7],
    "name": ["A", "B"],
    "ra": [10.25, 359.5],
    "dec": [1.0, -2.0],
    "visit": [3, 4],
}


@pytest.mark.parametrize("ending", ["csv", "ecsv", "fits", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path, ending):
    path = tmp_path / f"bodies.{ending}"
    if ending == "parquet":
        pytest.importorskip("pyarrow")
        from pyarrow import parquet
        from pyarrow import table as make_table

        parquet.write_table(make_table(BODIES), path)
    else:
        Table(BODIES).write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(ending, ending))
    rows = read_bodies(path)
    assert rows.dtype.names == ("ssObjectId", "visit", "ra", "dec")
    assert rows["ssObjectId"].tolist() == [2**62 + 1, 7]
    np.testing.assert_array_equal(rows["ra"], [10.25, 359.5])


def test_what_is_missing_is_not_a_number_and_an_id_is_never_missing(tmp_path):
    path = tmp_path / "bodies.csv"
    path.write_text("ssObjectId,ra,raErr\n1,2.5,\n")
    assert np.isnan(read_bodies(path)["raErr"][0])
    path.write_text("ssObjectId,ra\n,2.5\n")
    with pytest.raises(FormatError, match="column ssObjectId must hold numbers"):
        read_bodies(path)
