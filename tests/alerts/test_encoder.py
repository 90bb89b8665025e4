import io
import struct

import fastavro
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra.alerts.columns import columns_of, record_fields
from astra.alerts.cutout_batch import StampCutter
from astra.alerts.cutouts import CutoutConfig, make_cutout
from astra.alerts.encoder import AlertBatch, Chosen, Related, encode_alerts, encode_all
from astra.alerts.packets import Cutouts, make_alert
from astra.alerts.schemas import available_versions, load_schema
from astra.alerts.wire import decode, encode
from astra.errors import AlertError
from tests.alerts.random_rows import POOLS, RANDOMS, make_rows
from tests.alerts.stamp_images import make_exposure

VERSIONS = available_versions()


class Scene:
    """Random rows of some packets, as columns and as dicts."""

    def __init__(self, pools, random, count, version):
        self.version, self.count = version, count

        def rows(record, n):
            return make_rows(pools, random, record, n, version)

        self.sources, self.prv, self.forced = (
            rows("diaSource", count),
            rows("diaSource", 5),
            rows("diaForcedSource", 5),
        )
        self.objects, self.geometry, self.orbits = (
            rows("diaObject", 3),
            rows("ssSource", 2),
            rows("mpc_orbits", 2),
        )
        self.prv_of = [random.choices(range(5), k=random.randrange(3)) for _ in range(count)]
        self.forced_of = [random.choices(range(5), k=random.choice([0, 1, 70])) for _ in range(count)]
        self.object_of = [random.randrange(-1, 3) for _ in range(count)]
        self.body_of = [random.randrange(-1, 2) for _ in range(count)]
        self.reason = random.choice([None, *pools["string"]])
        self.extra = {}
        if version.startswith("astra"):
            records = {"upperLimits": "upperLimit", "nearestStars": "nearbySource"}
            self.extra = {name: (record, rows(record, 2)) for name, record in records.items()}

    def columns(self, record, rows):
        return columns_of(rows, [field.name for field in record_fields(record, self.version)])

    def batch(self):
        def chosen(record, rows, numbers):
            return Chosen(self.columns(record, rows), np.array(numbers, np.int64))

        return AlertBatch(
            self.columns("diaSource", self.sources),
            Related.of_lists(self.columns("diaSource", self.prv), self.prv_of),
            Related.of_lists(self.columns("diaForcedSource", self.forced), self.forced_of),
            chosen("diaObject", self.objects, self.object_of),
            chosen("ssSource", self.geometry, self.body_of),
            chosen("mpc_orbits", self.orbits, self.body_of),
            self.reason,
            "a target",
            {
                name: Related.of_lists(self.columns(record, rows), [[1, 0]] * self.count)
                for name, (record, rows) in self.extra.items()
            },
        )

    def alert(self, i, cutouts=None):
        body = self.body_of[i]
        return make_alert(
            self.sources[i],
            [self.prv[k] for k in self.prv_of[i]],
            [self.forced[k] for k in self.forced_of[i]],
            None if self.object_of[i] < 0 else self.objects[self.object_of[i]],
            cutouts,
            ss_source=None if body < 0 else self.geometry[body],
            mpc_orbit=None if body < 0 else self.orbits[body],
            observation_reason=self.reason,
            target_name="a target",
            version=self.version,
            extra={name: rows[::-1] for name, (_, rows) in self.extra.items()},
        )


@pytest.mark.parametrize("version", VERSIONS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pools=POOLS, random=RANDOMS, count=st.integers(0, 4))
def test_packets_are_those_of_the_ordinary_way(version, pools, random, count):
    scene = Scene(pools, random, count, version)
    fast = encode_all(scene.batch(), version=version, framed=True)
    ordinary = [scene.alert(i) for i in range(count)]
    assert fast == [encode(alert, version) for alert in ordinary]
    bodies = encode_all(scene.batch(), version=version)
    assert [body[5:] for body in fast] == bodies


@pytest.fixture
def filled_batch(filled_record):
    def make(count, **changes):
        rows = [filled_record("diaSource", diaSourceId=2**62 + i, **changes) for i in range(count)]
        return columns_of(rows, rows[0] if rows else ["diaSourceId"]), rows

    return make


def test_packets_with_stamps_are_those_of_the_ordinary_way(filled_batch):
    rng = np.random.default_rng(3)
    exposures = {name: make_exposure(seed) for seed, name in enumerate(("difference", "science", "template"))}
    columns, rows = filled_batch(150)
    for row in rows:
        row |= {"x": float(np.float32(rng.uniform(-3, 203))), "y": float(np.float32(rng.uniform(-3, 123)))}
        row["bboxSize"] = int(rng.integers(0, 140))
    columns = columns_of(rows, columns)
    config = CutoutConfig(detector_rotation_deg=90.0)
    cutters = {name: StampCutter(exposure, config) for name, exposure in exposures.items()}
    fast = encode_all(AlertBatch(columns), cutters, framed=True)
    for row, packet in zip(rows, fast, strict=True):
        place = row["x"], row["y"], row["bboxSize"]
        stamps = {name: make_cutout(one, *place, config) for name, one in exposures.items()}
        alert = make_alert(row, cutouts=Cutouts(**stamps))
        assert packet == encode(alert)
        assert decode(packet) == alert


def test_a_missing_template_is_a_null_stamp(filled_batch):
    columns, _ = filled_batch(2, x=50.0, y=50.0)
    for packet in encode_all(AlertBatch(columns), {"science": StampCutter(make_exposure(1))}, framed=True):
        alert = decode(packet)
        assert alert["cutoutScience"].startswith(b"SIMPLE")
        assert alert["cutoutTemplate"] is alert["cutoutDifference"] is None


def test_more_packets_than_a_set_come_in_order(filled_batch):
    columns, rows = filled_batch(150)
    sets = list(encode_alerts(AlertBatch(columns)))
    assert [one.n_rows for one in sets] == [64, 64, 22]
    schema = load_schema()
    ids = [
        fastavro.schemaless_reader(io.BytesIO(one.row(i)), schema, None)["diaSourceId"]
        for one in sets
        for i in range(one.n_rows)
    ]
    assert ids == [row["diaSourceId"] for row in rows]


def test_no_detections_give_no_packets():
    assert encode_all(AlertBatch({"diaSourceId": np.zeros(0, np.int64)})) == []


def test_the_frame_tells_the_schema(filled_batch):
    columns, _ = filled_batch(1)
    for version, number in (("11.0", 1100), ("astra-1.0", 1_000_100)):
        [packet] = encode_all(AlertBatch(columns), version=version, framed=True)
        assert packet[:5] == b"\0" + struct.pack(">I", number)


def test_a_wrong_column_of_the_history_is_refused_by_name(filled_batch):
    columns, _ = filled_batch(2)
    history = {**columns, "psfFlux": np.array([1, 2])}
    with pytest.raises(AlertError, match=r"field diaSource.psfFlux must be a finite float"):
        encode_all(AlertBatch(columns, Related.of_lists(history, [[0], [1]])))


@pytest.mark.parametrize("numbers", [[5], [-1]])
def test_rows_that_are_not_there_are_refused(filled_batch, numbers):
    columns, _ = filled_batch(1)
    with pytest.raises(ValueError, match="rows of diaSource are numbered 0 to 0"):
        encode_all(AlertBatch(columns, Related.of_lists(columns, [numbers])))


def test_lists_and_choices_must_be_those_of_the_packets(filled_batch, filled_record):
    columns, _ = filled_batch(2)
    objects = columns_of([filled_record("diaObject")], filled_record("diaObject"))
    with pytest.raises(ValueError, match="2 packets need 2 choices of diaObject, found 1"):
        encode_all(AlertBatch(columns, dia_objects=Chosen(objects, np.zeros(1, np.int64))))
    with pytest.raises(ValueError, match="lists of diaSource for 2 packets need 3 bounds, found 2"):
        encode_all(AlertBatch(columns, Related.of_lists(columns, [[0]])))


@pytest.mark.parametrize("start", [[0, 2], [-1, 1], [1, 0]])
def test_bounds_that_leave_the_lists_are_refused(filled_batch, start):
    columns, _ = filled_batch(1)
    lists = Related(columns, np.zeros(1, np.int64), np.array(start))
    with pytest.raises(ValueError, match="bounds of lists of diaSource must rise from 0 to 1 at most"):
        encode_all(AlertBatch(columns, lists))


def test_our_own_lists_do_not_fit_the_schema_of_rubin(filled_batch):
    columns, _ = filled_batch(1)
    limits = Related.of_lists({}, [[]])
    with pytest.raises(ValueError, match=r"alert schema 11.1 has no field upperLimits"):
        encode_all(AlertBatch(columns, extra={"upperLimits": limits}))
