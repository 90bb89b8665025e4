import io

import fastavro
import numpy as np
import pytest
from lsst.alert.packet import Schema

from astra.alerts.columns import columns_of
from astra.alerts.encoder import AlertBatch, encode_alerts
from astra.alerts.files import read_alerts, write_alerts, write_encoded
from astra.alerts.packets import make_alert
from astra.alerts.schemas import available_versions, full_name
from astra.errors import AlertError, MissingDataError


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_alerts_come_back_from_a_file(tmp_path, alert, codec):
    path = tmp_path / "alerts" / "512_3.avro"
    assert write_alerts(path, [alert, alert], codec=codec) == 2
    assert read_alerts(path) == [alert, alert]
    assert list(path.parent.iterdir()) == [path]


def test_the_official_reader_reads_our_file(tmp_path, alert):
    path = tmp_path / "512_3.avro"
    write_alerts(path, [alert])
    with path.open("rb") as stream:
        _, alerts = Schema.from_file().retrieve_alerts(stream)
        assert list(alerts) == [alert]


def test_we_read_the_official_file(tmp_path, alert):
    path = tmp_path / "official.avro"
    with path.open("wb") as stream:
        Schema.from_file().store_alerts(stream, [alert])
    assert read_alerts(path) == [alert]


def test_no_alerts_are_a_valid_file(tmp_path):
    path = tmp_path / "512_3.avro"
    assert write_alerts(path, []) == 0
    assert read_alerts(path) == []


def test_an_alert_that_does_not_fit_leaves_no_file_and_the_old_one_stands(tmp_path, alert):
    path = tmp_path / "512_3.avro"
    write_alerts(path, [alert])
    with pytest.raises(AlertError, match="alert number 2"):
        write_alerts(path, [alert, {**alert, "diaSource": {}}])
    assert read_alerts(path) == [alert]
    assert list(tmp_path.iterdir()) == [path]


def test_rewritten_packets_of_hsc_cosmos_are_read(shared_data):
    paths = sorted((shared_data / "alerts" / "rubin_hsc_cosmos").glob("visit*/*.avro"))
    assert len(paths) == 16
    for path in paths:
        (alert,) = read_alerts(path)
        assert str(alert["diaSourceId"]) == path.stem


def test_a_missing_file_and_a_cut_file_are_told_apart(tmp_path, alert):
    path = tmp_path / "512_3.avro"
    with pytest.raises(MissingDataError, match="is not there"):
        read_alerts(path)
    write_alerts(path, [alert])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(AlertError, match="not a whole Avro container"):
        read_alerts(path)
    path.write_bytes(b"")
    with pytest.raises(AlertError, match="not a whole Avro container"):
        read_alerts(path)


@pytest.fixture
def packets(filled_record):
    """Rows of some packets, and the packets by the fast way."""

    def make(count, version="11.1", **changes):
        rows = [filled_record("diaSource", diaSourceId=2**62 + i) for i in range(count)]
        columns = columns_of(rows, rows[0] if rows else ["diaSourceId"]) | changes
        return rows, encode_alerts(AlertBatch(columns, target_name="COSMOS"), version=version)

    return make


@pytest.mark.parametrize("version", available_versions())
def test_packets_of_the_fast_way_are_read_by_fastavro_and_by_us(tmp_path, packets, version):
    path = tmp_path / "alerts" / "512_3.avro"
    rows, encoded = packets(150, version)
    assert write_encoded(path, encoded, version=version) == 150
    expected = [make_alert(row, target_name="COSMOS", version=version) for row in rows]
    assert read_alerts(path) == expected
    with path.open("rb") as stream:
        reader = fastavro.reader(stream)
        assert list(reader) == expected
        assert reader.writer_schema["name"] == full_name("alert", version)
    assert list(path.parent.iterdir()) == [path]


def test_the_file_of_the_fast_way_carries_the_schema_that_fastavro_writes(tmp_path, packets):
    headers = []
    for write in (write_alerts, write_encoded):
        path = tmp_path / f"{write.__name__}.avro"
        write(path, [])
        with path.open("rb") as stream:
            headers.append(fastavro.reader(stream).metadata)
    assert headers[0] == headers[1]


def test_the_official_reader_reads_the_file_of_the_fast_way(tmp_path, packets):
    path = tmp_path / "512_3.avro"
    rows, encoded = packets(3)
    write_encoded(path, encoded)
    with path.open("rb") as stream:
        _, alerts = Schema.from_file().retrieve_alerts(stream)
        assert [alert["diaSourceId"] for alert in alerts] == [row["diaSourceId"] for row in rows]


def test_the_same_packets_give_the_same_file(tmp_path, packets):
    contents = set()
    for name in ("a.avro", "b.avro"):
        write_encoded(tmp_path / name, packets(70)[1])
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1


def test_no_packets_of_the_fast_way_are_a_valid_file(tmp_path, packets):
    path = tmp_path / "512_3.avro"
    assert write_encoded(path, packets(0)[1]) == 0
    assert read_alerts(path) == []


def test_a_column_that_does_not_fit_leaves_the_old_file(tmp_path, packets):
    path = tmp_path / "512_3.avro"
    write_encoded(path, packets(2)[1])
    before = path.read_bytes()
    with pytest.raises(AlertError, match=r"field diaSource.ra must be a float"):
        write_encoded(path, packets(2, ra=np.array([1, 2]))[1])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_alerts_of_a_file_are_brought_to_another_version(tmp_path, alert):
    path = tmp_path / "512_3.avro"
    write_alerts(path, [alert])
    [older] = read_alerts(path, version="11.0")
    assert "exposureTime" not in older["diaSource"]
    stream = io.BytesIO(path.read_bytes())
    assert next(iter(fastavro.reader(stream))) == alert
