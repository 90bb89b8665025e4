"""The order of the demonstration: one detector goes first, and no step is asked for twice at a time."""

import luigi
import pytest

from astra.tasks.demo_steps import ProcessSimulatedNights


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """What the nights of the demonstration ask for, step by step."""
    monkeypatch.setattr(ProcessSimulatedNights, "tiles", lambda self, pairs: [])  # the images tell them
    task = ProcessSimulatedNights(scale="full", output_root=str(tmp_path))
    return [luigi.task.flatten(step) for step in ProcessSimulatedNights.run.__wrapped__(task)]


def pairs_of(tasks, family):
    return [
        (member.visit, member.detector)
        for task in tasks
        if task.task_family == family
        for member in task.get_batch_tasks()
    ]


def step_of(steps, family):
    return next(number for number, tasks in enumerate(steps) if pairs_of(tasks, family))


def test_one_detector_reaches_its_alerts_before_any_other_difference_begins(steps):
    ahead = step_of(steps, "PackageAlerts")
    [first] = pairs_of(steps[ahead], "PackageAlerts")
    assert pairs_of(steps[step_of(steps, "ProcessCcd")], "ProcessCcd") == [first]
    assert step_of(steps, "DiffIm") == ahead + 1
    assert first not in pairs_of(steps[ahead + 1], "DiffIm")


def test_the_other_templates_are_made_while_the_first_detector_compiles(steps):
    ahead = step_of(steps, "PackageAlerts")
    first = set(pairs_of(steps[ahead], "PackageAlerts"))
    others = set(pairs_of(steps[ahead], "GetTemplate"))
    assert others == set(pairs_of(steps[ahead + 1], "DiffIm"))
    assert not others & first
    assert len(others | first) == 16


def test_every_detector_is_calibrated_once_and_those_of_the_last_night_with_pictures(steps):
    tasks = [task for step in steps for task in step if task.task_family == "ProcessCcd"]
    pairs = pairs_of(tasks, "ProcessCcd")
    assert len(pairs) == len(set(pairs)) == 28
    drawn = {visit // 100000 for visit, _ in pairs_of([t for t in tasks if t.quality_pictures], "ProcessCcd")}
    assert drawn == {20261120}
    assert step_of(steps, "ProcessCcd") < step_of(steps, "PackageAlerts")
