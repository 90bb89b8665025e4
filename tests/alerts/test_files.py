import pytest
from lsst.alert.packet import Schema

from astra.alerts.files import read_alerts, write_alerts
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
