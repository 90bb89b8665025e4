"""A visit that is associated late, as a task: the rows and alerts are those of the visits in order."""

from astra.database.apdb import remove_visit
from astra.database.engine import dispose_engines, transaction
from astra.tasks.association import Associate
from tests.tasks.association_worker import packets
from tests.tasks.night import build, rows, sqlite_rows, states


def forget_association(root, pairs, night):
    """Take associations out of the tables, as if they had not been done yet."""
    for visit, detector in pairs:
        with transaction(f"sqlite:///{root}/astra.db") as connection:
            remove_visit(connection, "simcam", visit, detector)
    for member in Associate(**night.parameters()).get_batch_tasks():
        if (member.visit, member.detector) in pairs:
            member.delete_state()
    dispose_engines()


def test_a_late_visit_has_the_later_ones_associated_and_their_alerts_packaged_again(processed, night):
    expected = sqlite_rows(processed), packets(processed / "alerts")
    late = [pair for pair in night.pairs if pair[0] == night.files.science_visits[0]]
    forget_association(processed, late, night)
    assert sqlite_rows(processed) != expected[0]
    assert build(Associate(**night.parameters(late)))
    assert sqlite_rows(processed) == expected[0]
    found = states(processed, "PackageAlerts")
    assert {pair for pair, state in found.items() if state != "done"} == set(night.pairs) - set(late)
    query = "SELECT sum(CAST(value AS INTEGER)) FROM task_metadata WHERE key LIKE '%.nAssociatedAgain'"
    assert rows(processed, query)[0][0] >= 2
    assert build(night.pipeline())
    assert (sqlite_rows(processed), packets(processed / "alerts")) == expected


def test_a_late_visit_is_refused_where_the_later_one_cannot_be_done_again(processed, night):
    [first, second] = [(visit, 0) for visit in night.files.science_visits]
    forget_association(processed, [first], night)
    before = sqlite_rows(processed)
    later = Associate(**{**night.parameters(), "visit": second[0], "detector": second[1]})
    later.requires()["diffim"].path("diaSrc").unlink()
    assert not build(Associate(**{**night.parameters(), "visit": first[0], "detector": first[1]}))
    assert sqlite_rows(processed) == before
    query = "SELECT message FROM task_attempt WHERE error_class = 'ConflictingDefinitionError'"
    [(message,)] = rows(processed, query)
    assert (
        f"cannot be associated after visit {second[0]} detector 0, which is later and overlaps it" in message
    )
