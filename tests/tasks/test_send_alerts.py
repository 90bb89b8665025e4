"""Sending as a task: what is packaged arrives, what does not fails the task and comes with the next run."""

import json
import sqlite3
from contextlib import contextmanager

import luigi
import pytest

from astra.alerts.reading import read_packets
from astra.alerts.sinks import AlertSink, Delivery, Sender, make_message
from astra.alerts.wire import encode
from astra.database.engine import transaction
from astra.database.survey import system_table, visit_table
from astra.plugins import ALERT_SINKS
from astra.tasks.alerts import PackageAlerts
from astra.tasks.send_alerts import SendAlerts
from tests.alerts.simple import packet, write
from tests.postgresql import free_port
from tests.tasks.night import build, states

PARAMETERS = {"instrument": "simcam", "template_visits": "1", "detector": 3}


class Unreliable(AlertSink, Sender):
    """A sink that loses what its file names."""

    lost = frozenset()
    got = []  # noqa: RUF012  # all that any of them has got

    def encode(self, alert, version="11.1"):
        return make_message(alert, encode(alert, version))

    @contextmanager
    def open(self, settings):
        yield self

    def send(self, messages):
        deliveries = [
            Delivery("no broker" if message.dia_source_id in self.lost else None) for message in messages
        ]
        self.got += [
            m.dia_source_id for m, delivery in zip(messages, deliveries, strict=True) if not delivery.error
        ]
        return deliveries


@pytest.fixture
def packaged(astra_root):
    """Two visits, packaged: the later one has the smaller number."""
    for visit, packets in ((9, [packet(901, 50), packet(902)]), (8, [packet(801, 50, mjd=60001.0)])):
        write(astra_root, packets, visit)
        PackageAlerts(visit=visit, **PARAMETERS).trigger_event_succeeded()
    return astra_root


def outbox(root):
    with sqlite3.connect(root / "astra.db") as connection:
        query = "SELECT diaSourceId, status_code, sentMjdTai IS NOT NULL FROM alert_outbox ORDER BY 1"
        return connection.execute(query).fetchall()


def test_packaged_alerts_become_files(packaged):
    task = SendAlerts(visit=9, sink="files", **PARAMETERS)
    assert build(task)
    assert task.complete()
    folder = packaged / "alerts" / "files"
    assert sorted(path.name for path in folder.iterdir()) == ["12_3_901.avro", "12_3_902.avro"]
    assert [next(read_packets(path)).source_id for path in sorted(folder.iterdir())] == [901, 902]
    assert outbox(packaged) == [(901, 1, 1), (902, 1, 1)]


def test_what_does_not_arrive_fails_the_task_and_comes_with_the_next_run(packaged, monkeypatch):
    monkeypatch.setitem(ALERT_SINKS.built_in, "unreliable", f"{__name__}:Unreliable")
    monkeypatch.setattr(Unreliable, "got", [])
    monkeypatch.setattr(Unreliable, "lost", {901})
    assert not build(SendAlerts(visit=9, sink="unreliable", **PARAMETERS))
    assert Unreliable.got == [902]
    query = "SELECT message, context FROM task_attempt WHERE error_class = 'SendError'"
    with sqlite3.connect(packaged / "astra.db") as connection:
        ((message, context),) = connection.execute(query).fetchall()
    assert message == (
        "1 alerts of visit 9, detector 3 have not arrived at unreliable; they are kept and sent with the "
        "next run: no broker"
    )
    assert json.loads(context)["n_unsent"] == 1
    assert not build(SendAlerts(visit=8, sink="unreliable", **PARAMETERS))  # it waits for the same object's
    monkeypatch.setattr(Unreliable, "lost", frozenset())
    assert build(SendAlerts(visit=8, sink="unreliable", **PARAMETERS))
    assert Unreliable.got == [902, 901, 801]
    assert build(SendAlerts(visit=9, sink="unreliable", **PARAMETERS))
    assert build(SendAlerts(visit=9, sink="unreliable", rerun=True, **PARAMETERS))
    assert Unreliable.got == [902, 901, 801, 901, 902]


def test_the_visits_of_a_batch_go_in_the_order_of_their_time(packaged, monkeypatch):
    monkeypatch.setitem(ALERT_SINKS.built_in, "unreliable", f"{__name__}:Unreliable")
    monkeypatch.setattr(Unreliable, "got", [])
    task = SendAlerts(visit=(8, 9), sink="unreliable", **{**PARAMETERS, "detector": (3, 3)})
    key = {"instrument": "simcam", "visit_system": 0}
    fixed = {"seq_num": 1, "exposure_time_s": 30.0, "observation_reason": "science", "region_source": "x"}
    with transaction(task.database_url) as connection:
        connection.execute(system_table.insert(), [{**key, "name": "one-to-one"}])
        visits = [
            {
                **key,
                **fixed,
                "visit": n,
                "name": str(n),
                "day_obs": 20250101,
                "region": b"",
                "begin_mjd_tai": t,
            }
            for n, t in ((8, 60001.0), (9, 60000.25))
        ]
        connection.execute(visit_table.insert(), visits)
    assert build(task)
    assert Unreliable.got == [901, 902, 801]
    assert states(packaged, "SendAlerts") == {(8, 3): "done", (9, 3): "done"}


def test_a_root_has_several_sinks_and_an_unknown_one_is_refused(packaged, run_luigi):
    arguments = ["--visit", 9, "--detector", 3, "--instrument", "simcam", "--template-visits", 1]
    env = {"ASTRA_ROOT": str(packaged)}
    assert run_luigi("SendAlerts", *arguments, "--sink", "files", env=env).returncode == 0
    result = run_luigi("SendAlerts", *arguments, "--sink", "pigeon", env=env)
    assert result.returncode == 30
    assert "alert sink 'pigeon' is unknown; known are files, kafka" in result.stderr


def test_credentials_are_neither_logged_nor_stored(packaged, monkeypatch, caplog, capfd):
    pytest.importorskip("confluent_kafka")
    monkeypatch.setenv("ASTRA_KAFKA_USERNAME", "observer")
    monkeypatch.setenv("ASTRA_KAFKA_PASSWORD", "hush-hush")
    config = luigi.configuration.get_config()
    options = {
        "servers": f"127.0.0.1:{free_port()}",
        "topic": "alerts",
        "security_protocol": "SASL_PLAINTEXT",
        "delivery_timeout_s": "1.0",
    }
    for name, value in options.items():
        config.set("astra_kafka", name, value)
    try:
        with caplog.at_level("DEBUG"):
            assert not build(SendAlerts(visit=9, sink="kafka", **PARAMETERS))
    finally:
        config.remove_section("astra_kafka")
    assert [row[:2] for row in outbox(packaged)] == [(901, 30), (902, 30)]
    told = caplog.text + "".join(capfd.readouterr())
    stored = b"".join(path.read_bytes() for path in packaged.glob("astra.db*"))
    assert b"have not arrived at kafka" in stored
    for secret in ("hush-hush", "observer"):
        assert secret not in told
        assert secret.encode() not in stored
