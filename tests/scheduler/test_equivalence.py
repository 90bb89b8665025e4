"""Our scheduler decides as Luigi's does, step by step, whatever happens."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scheduler.lockstep import Lockstep, adds, steps


@given(st.lists(adds, min_size=8, max_size=20), st.lists(steps, min_size=30, max_size=60), st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_that_of_luigis_scheduler(first, then, prunes):
    with pytest.MonkeyPatch.context() as monkeypatch:
        pair = Lockstep(monkeypatch, prune_on_get_work=prunes)
        for operation in [*first, *then]:
            pair.apply(operation)
