"""Of a journal the last lines of each task are enough, whatever stands in them."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra.scheduler.latest import LatestLines

ODD = ['a"b', "\\", '","s":"', '{"t":"', '"what":{', "\u2192", ""]
names = st.sampled_from(ODD) | st.text(max_size=4)
statuses = st.sampled_from(["PENDING", "RUNNING", "BATCH_RUNNING", "DISABLED", "DONE"])
hows = st.fixed_dictionaries({"t": names, "s": statuses, "expl": names})
whats = st.fixed_dictionaries({"t": names, "s": statuses, "what": st.just({"params": 1}), "expl": names})
lines = hows | whats
gone = st.fixed_dictionaries({"gone": st.lists(names, max_size=3), "left": st.just([])})


def text_of(change):
    """A change as it is written: with the id first, then the status, then what the task is."""
    names = ("t", "s", "what", "expl", "gone", "left")
    ordered = {name: change[name] for name in names if name in change}
    return json.dumps(ordered, separators=(",", ":")).encode()


def state_after(changes):
    """What each task is, how it stands, as a reader of all changes knows it, in their order."""
    tasks = {}
    for change in changes:
        for name in change.get("gone", ()):
            tasks.pop(name, None)
        if "t" in change:
            task = tasks.setdefault(change["t"], {})
            what = change.get("what", task.get("what"))
            task.clear()
            task.update({**change, "what": what})
    return tasks


@given(st.lists(lines | gone, max_size=30))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_last_lines_make_the_state_of_all(changes):
    latest = LatestLines()
    others = [change for one in changes if (change := latest.take(text_of(one)))]
    assert others == [change for change in changes if "gone" in change]
    found = list(latest.changes())
    assert list(state_after(found).items()) == list(state_after(changes).items())
    assert len(found) <= 2 * len(state_after(changes))


def test_its_size_is_that_of_what_still_holds():
    latest = LatestLines()
    what = b'{"t":"a","s":"PENDING","what":{}}'
    for text in (what, b'{"t":"a","s":"RUNNING"}', b'{"t":"a","s":"DONE"}', b'{"paused":false}'):
        latest.take(text)
    assert latest.size == len(what) + len(b'{"t":"a","s":"DONE"}') + len(b'{"paused":false}')
