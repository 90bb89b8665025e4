"""The words for states: what waits for something that has failed is blocked, at any distance."""

import pytest
from sqlalchemy import select

from astra.database.engine import reading, transaction
from astra.database.forget import forgettable_tasks
from astra.database.lineage import report_task
from astra.database.pages import tasks as pages
from astra.database.queries import family_counts, list_tasks
from astra.database.selection import STATES, Selection
from astra.database.state import link_batch, link_dependencies, task_table
from astra.database.stored import unfinished_tasks
from tests.cli.rows import end, record, start_run

# Name: status code, what it requires, expected word.
LINEAGE = {
    "failed": (30, "", "failed"),
    "behind": (0, "failed", "blocked"),
    "far_behind": (0, "behind", "blocked"),
    "farther": (0, "far_behind done", "blocked"),
    "died": (40, "", "failed"),
    "behind_died": (0, "died", "blocked"),
    "broken": (50, "", "failed"),
    "behind_broken": (0, "broken", "blocked"),
    "late": (70, "", "failed"),
    "behind_late": (0, "late", "blocked"),
    "missing": (60, "", "blocked"),
    "behind_missing": (0, "missing", "blocked"),
    "done": (1, "failed", "done"),
    "behind_done": (0, "done", "pending"),
    "running": (2, "failed", "running"),
    "behind_running": (0, "running", "pending"),
    "alone": (0, "", "pending"),
    "behind_alone": (0, "alone", "pending"),
    "left": (0, "right behind_done", "pending"),
    "right": (0, "left", "pending"),
    "one_good": (1, "", "done"),
    "one_bad": (30, "", "failed"),
    "part": (30, "", "batch of one_good one_bad"),
    "behind_part": (0, "part", "blocked"),
    "mended": (30, "", "batch of one_good done"),
    "behind_mended": (0, "mended", "pending"),
    "unknown": (40, "", "batch of"),
    "behind_unknown": (0, "unknown", "blocked"),
    "through": (0, "part", "batch of in_through"),
    "in_through": (0, "", "pending"),
    "behind_through": (0, "through", "blocked"),
}
MEMBERS = {name: word.split()[2:] for name, (_, _, word) in LINEAGE.items() if word.startswith("batch of")}
TASKS = {name: record(name, {"x": name}, 2 if name in MEMBERS else None) for name in LINEAGE}
EXPECTED = {name: word for name, (_, _, word) in LINEAGE.items() if name not in MEMBERS}


@pytest.fixture
def lineage(any_database_url):
    """Tasks of all codes behind each other."""
    with transaction(any_database_url) as connection:
        run = start_run(connection)
        for name, (code, _, _) in LINEAGE.items():
            end(connection, run, TASKS[name], code, message="it did not go well" if code >= 30 else None)
        for name, members in MEMBERS.items():
            link_batch(connection, TASKS[name].task_id, [TASKS[member].task_id for member in members])
        pairs = [(name, needed) for name, (_, needs, _) in LINEAGE.items() for needed in needs.split()]
        link_dependencies(connection, [(TASKS[a].task_id, TASKS[b].task_id) for a, b in pairs])
    return any_database_url


def test_counts_lists_and_reports_agree(lineage):
    with reading(lineage) as connection:
        for count in family_counts(connection):
            assert count.as_dict()[EXPECTED[count.family]] == count.total == 1
        for word in STATES:
            found = {task.family for task in list_tasks(connection, Selection(state=word), 100)}
            assert found == {name for name in EXPECTED if EXPECTED[name] == word}
        for name, word in EXPECTED.items():
            task_id = TASKS[name].task_id
            assert report_task(connection, task_id).task["state"] == word
            assert [task.state for task in forgettable_tasks(connection, task_id, cascade=False)] == [word]
        assert report_task(connection, TASKS["through"].task_id).members == {"pending": 1}
        behind = report_task(connection, TASKS["failed"].task_id).dependents
        assert {task["family"]: task["state"] for task in behind} == {
            name: EXPECTED[name] for name in ("behind", "done", "running")
        }


def test_what_is_blocked_is_tried_again_with_the_failed(lineage):
    with reading(lineage) as connection:
        names = dict(connection.execute(select(task_table.c.task_id, task_table.c.family)).all())
        found = [names[task.task_id] for task in unfinished_tasks(connection, Selection(), ("blocked",))]
    assert set(found) == {name for name in EXPECTED if EXPECTED[name] == "blocked"} | {"through"}


def test_a_family_chooses_among_the_blocked(lineage):
    with reading(lineage) as connection:
        selection = Selection(family="far_behind", state="blocked")
        assert [task.family for task in list_tasks(connection, selection, 9)] == ["far_behind"]
        assert [count.blocked for count in family_counts(connection, selection)] == [1]


@pytest.mark.parametrize("n_few", [0, 500], ids=["many", "few"])
def test_pages_have_the_same_words(lineage, monkeypatch, n_few):
    monkeypatch.setattr(pages, "FEW", n_few)
    with reading(lineage) as connection:
        query = select(task_table.c.pk, task_table.c.status_code, task_table.c.family)
        rows = [row for row in connection.execute(query) if row.family in EXPECTED]
        words = pages.states_of(connection, [(row.pk, row.status_code) for row in rows])
    assert {row.family: words[row.pk] for row in rows} == EXPECTED
