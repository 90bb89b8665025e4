"""Association at one place of the sky is serial, at several it is not."""

import pytest
import sqlalchemy as sa

from astra import config
from astra.database.engine import transaction
from astra.database.survey import region_table, system_table, visit_table
from astra.scheduler.bulk import BulkScheduler
from astra.sky.regions import convex_hull, encode
from astra.tasks import sky_cells
from astra.tasks.association import Associate
from astra.tasks.deduplicate import DeduplicateObjects

NEAR, SAME, FAR, EDGE = 101, 102, 103, 104  # visits
CENTRES = {NEAR: (10.0, -20.0), SAME: (10.01, -20.01), FAR: (70.0, 40.0), EDGE: (0.0, 0.0)}
HALF_DEG = 0.05


def square(ra, dec):
    return convex_hull(
        [ra - HALF_DEG, ra + HALF_DEG, ra + HALF_DEG, ra - HALF_DEG],
        [dec - HALF_DEG, dec - HALF_DEG, dec + HALF_DEG, dec + HALF_DEG],
    )


def value_of(column, visit):
    known = {"instrument": "simcam", "visit": visit, "region": encode(square(*CENTRES[visit]))}
    if column.name in known or column.nullable:
        return known.get(column.name)
    return 0 if isinstance(column.type, sa.Integer | sa.Float) else "any"


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A root with two visits that overlap, one far away and one where cells meet, each with two detectors."""
    root = tmp_path_factory.mktemp("survey")
    with transaction(config.own_database_url(root)) as connection:
        connection.execute(
            sa.insert(system_table).values(instrument="simcam", visit_system=0, name="one-to-one")
        )
        for visit, (ra, dec) in CENTRES.items():
            row = {column.name: value_of(column, visit) for column in visit_table.c}
            connection.execute(sa.insert(visit_table).values(row | {"day_obs": 20261120}))
            for detector, shift in ((0, 0.0), (1, 2 * HALF_DEG)):
                region = encode(square(ra + shift, dec))
                place = {"instrument": "simcam", "visit_system": 0, "visit": visit, "detector": detector}
                connection.execute(sa.insert(region_table).values(place | {"region": region}))
    return root


@pytest.fixture
def defined(survey, monkeypatch):
    """That root as the configured one."""
    monkeypatch.setenv("ASTRA_ROOT", str(survey))
    monkeypatch.delenv("ASTRA_DATABASE_URL", raising=False)
    monkeypatch.setattr(sky_cells, "_known", {})


def associate(visit, detector):
    return Associate(instrument="simcam", visit=visit, detector=detector, raw="raw", template_visits="1")


def offered(*tasks):
    """Which of some tasks as many workers of one scheduler are given at once."""
    scheduler = BulkScheduler(resources={})
    for number, task in enumerate(tasks):
        scheduler.add_task(
            worker=f"w{number}", task_id=task.task_id, resources=task.process_resources(), family="Associate"
        )
    replies = [scheduler.get_work(worker=f"w{number}", host="h") for number in range(len(tasks))]
    return [reply["task_id"] is not None for reply in replies]


def test_detectors_that_overlap_run_one_after_the_other(defined):
    assert offered(associate(NEAR, 0), associate(SAME, 0)) == [True, False]
    assert offered(associate(NEAR, 0), associate(SAME, 1)) == [True, False]


def test_far_apart_they_run_at_once(defined):
    assert offered(associate(NEAR, 0), associate(FAR, 0), associate(SAME, 0)) == [True, True, False]


def test_a_batch_uses_the_cells_of_all_its_members(defined):
    batch = associate((NEAR, FAR), (0, 1))
    used = associate(NEAR, 0).resources | associate(FAR, 1).resources
    assert batch.resources == used
    assert offered(batch, associate(FAR, 0)) == [True, False]
    assert offered(batch, associate(EDGE, 0)) == [True, True]


def test_a_detector_where_cells_meet_uses_each(defined):
    assert len(associate(EDGE, 0).resources) == 4
    assert len(associate(FAR, 0).resources) < 4


def test_who_does_not_know_where_it_looks_waits_for_its_like(defined):
    unknown, mixed = associate(999, 0), associate((NEAR, 999), (0, 0))
    assert unknown.resources == {"apdb": 1}
    assert mixed.resources == associate(NEAR, 0).resources | {"apdb": 1}
    assert offered(unknown, mixed, associate(998, 0)) == [True, False, False]


def test_a_visit_that_is_defined_later_is_known_then(defined):
    assert associate(997, 0).resources == {"apdb": 1}
    with transaction(config.database_url()) as connection:
        row = connection.execute(sa.select(visit_table).where(visit_table.c.visit == FAR)).mappings().one()
        connection.execute(sa.insert(visit_table).values(dict(row) | {"visit": 997}))
        place = {"instrument": "simcam", "visit_system": 0, "visit": 997, "detector": 0}
        connection.execute(sa.insert(region_table).values(place | {"region": row["region"]}))
    assert associate(997, 0).resources == associate(FAR, 0).resources


def test_visits_are_looked_up_once(defined, monkeypatch):
    asked = []
    read = sky_cells._read_cells
    monkeypatch.setattr(sky_cells, "_read_cells", lambda *args: asked.append(args[3]) or read(*args))
    batch = associate((NEAR, NEAR, SAME, FAR), (0, 1, 0, 0))
    assert batch.resources == batch.resources
    assert associate(NEAR, 1).resources.items() <= batch.resources.items()
    assert asked == [{NEAR, SAME, FAR}]


def test_without_a_night_the_merging_of_duplicates_uses_the_unknown(defined):
    assert DeduplicateObjects(instrument="simcam", night=20200101).resources == {"apdb": 1}
