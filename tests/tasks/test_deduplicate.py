"""Duplicates of a night as a task, and corrections as commands: what changes, and whose alerts go again."""

import numpy as np
import pytest
import sqlalchemy as sa

from astra.cli import main
from astra.database import apdb
from astra.database.engine import dispose_engines, transaction
from astra.database.models.apdb import dia_object, dia_source
from astra.tasks.deduplicate import DeduplicateObjects
from tests.tasks.night import build, rows, states

PLACES = 'SELECT "diaObjectId", ra, dec FROM "DiaObject"'


@pytest.fixture
def split(processed, night):
    """A root in which the later detection of an object has an object of its own: ids of both objects."""
    with transaction(f"sqlite:///{processed}/astra.db") as connection:
        several = sa.select(dia_source.c.diaObjectId).group_by(dia_source.c.diaObjectId)
        counts = several.having(sa.func.count(dia_source.c.visit.distinct()) == 2, sa.func.count() == 2)
        stays = connection.execute(counts.order_by("diaObjectId")).scalars().first()
        sources = np.sort(apdb.load_sources(connection, np.array([stays])), order="midpointMjdTai")
        own = int(sources["diaSourceId"][1])
        is_object = dia_object.c.diaObjectId == stays
        starts = connection.execute(sa.select(dia_object.c.validityStartMjdTai).where(is_object)).scalars()
        first, second = sorted(starts)
        is_second = is_object & (dia_object.c.validityStartMjdTai == second)
        is_first = is_object & (dia_object.c.validityStartMjdTai == first)
        connection.execute(sa.delete(dia_object).where(is_second))
        connection.execute(sa.update(dia_object).where(is_first).values(validityEndMjdTai=None))
        row = dict(connection.execute(sa.select(dia_object).where(is_first)).mappings().one())
        times = {"validityStartMjdTai": second, "firstDiaSourceMjdTai": second, "lastDiaSourceMjdTai": second}
        connection.execute(sa.insert(dia_object).values(row | times | {"diaObjectId": own}))
        moved = sa.update(dia_source).where(dia_source.c.diaSourceId == own).values(diaObjectId=own)
        connection.execute(moved)
    dispose_engines()
    return processed, stays, own


def owner(root, source):
    return dict(rows(root, 'SELECT "diaSourceId", "diaObjectId" FROM "DiaSource"'))[source]


def detectors_of(root, object_id):
    found = rows(root, 'SELECT "diaObjectId", visit, detector FROM "DiaSource"')
    return {tuple(place) for owner_id, *place in found if owner_id == object_id}


def reopened(root):
    return {pair for pair, state in states(root, "PackageAlerts").items() if state != "done"}


def test_duplicates_of_a_night_are_merged_and_their_alerts_packaged_again(split, night):
    root, stays, duplicate = split
    day = night.files.science_visits[0] // 100000
    assert build(DeduplicateObjects(instrument="simcam", night=day))
    assert owner(root, duplicate) == stays
    figures = "SELECT value FROM task_metadata WHERE key LIKE '%nMergedDiaObjects'"
    assert rows(root, figures) == [(1,)]
    assert reopened(root) == detectors_of(root, stays)
    assert len(reopened(root)) == 2
    assert build(night.pipeline())
    assert reopened(root) == set()
    assert build(DeduplicateObjects(instrument="simcam", night=day, rerun=True))
    assert sorted(rows(root, figures))[0] == (0,)


def test_a_night_that_is_not_known_is_refused(processed, night):
    assert not build(DeduplicateObjects(instrument="simcam", night=19990101))
    query = "SELECT message FROM task_attempt WHERE error_class = 'MissingDataError'"
    assert rows(processed, query) == [("no detector of night 19990101 of simcam is known",)]


def test_commands_find_and_merge_duplicates(split, capsys):
    root, stays, duplicate = split
    [(ra, dec)] = {row[1:] for row in rows(root, PLACES) if row[0] == duplicate}
    assert main(["apdb", "duplicates", "--ra", str(ra), "--dec", str(dec)]) == 0
    assert capsys.readouterr().out == f"{duplicate} is {stays}\n"
    arguments = ["apdb", "merge", str(duplicate), str(stays)]
    assert main([*arguments, "--dry-run"]) == 0
    line = f"merged object {duplicate} into {stays}; update records: 3, visits whose alerts are made again: 2"
    assert capsys.readouterr().out == f"would have {line}\n"
    assert owner(root, duplicate) == duplicate
    assert reopened(root) == set()
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{line}\n"
    assert owner(root, duplicate) == stays
    assert len(reopened(root)) == 2
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("nothing to do: ")


def test_commands_withdraw_reassign_and_close(split, capsys):
    root, stays, duplicate = split
    [(visit, detector)] = detectors_of(root, duplicate)
    assert main(["apdb", "reassign", str(duplicate), "--to-object", str(stays)]) == 0
    assert owner(root, duplicate) == stays
    forced = ["--forced", str(stays), str(visit), str(detector)]
    assert main(["apdb", "withdraw", str(duplicate), *forced]) == 0
    assert main(["apdb", "reassign", str(duplicate), "--to-body", "7"]) == 0
    assert owner(root, duplicate) is None
    assert main(["apdb", "close", str(stays)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["reassigned", "withdrew", "reassigned", "closed"]
    withdrawn = 'SELECT count(*) FROM "{}" WHERE "timeWithdrawnMjdTai" IS NOT NULL'
    assert [rows(root, withdrawn.format(table)) for table in ("DiaSource", "DiaForcedSource")] == [[(1,)]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merge", "5", "{stays}"], "1 objects are not in the APDB: 5"),
        (["merge", "{stays}", "5"], "1 current objects are not in the APDB: 5"),
        (["withdraw", "5"], "1 detections are not in the APDB: 5"),
        (["withdraw"], "needs the diaSourceId of a detection, or --forced"),
        (["reassign", "5", "--to-object", "{stays}"], "1 detections are not in the APDB: 5"),
        (["close", "5"], "1 objects are not in the APDB: 5"),
    ],
)
def test_what_is_unknown_is_refused_by_name(split, capsys, arguments, message):
    _, stays, _ = split
    assert main(["apdb", *(word.format(stays=stays) for word in arguments)]) == 1
    assert message in capsys.readouterr().err
