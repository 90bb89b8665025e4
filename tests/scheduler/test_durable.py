"""A scheduler that begins from its journal goes on as if nothing had happened."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra.errors import StateError
from astra.scheduler.durable import DurableScheduler
from astra.scheduler.journal import Journal
from tests.scheduler.lockstep import Lockstep, adds, states, steps, with_fixed_times


class Restarted(Lockstep):
    """Our scheduler is killed and begins anew; its workers are still known, and that they were heard of."""

    def __init__(self, monkeypatch, folder):
        super().__init__(monkeypatch, ours=DurableScheduler)
        self.folder, self.n_starts = folder, 0
        self.options = {name: getattr(self.ours._config, name) for name, _ in self.ours._config.get_params()}
        self.ours.open_journal(Journal(folder / "0", "never"))

    def both(self, method, *args, **kwargs):
        replies = super().both(method, *args, **kwargs)
        self.ours.commit()
        return replies

    def restart(self, compacts):
        if compacts:
            self.ours.compact()
        before, workers = states(self.ours), self.ours._state._active_workers
        self.n_starts += 1
        shutil.copy(self.ours._journal.path, self.folder / str(self.n_starts))  # the old one holds its own
        self.ours = with_fixed_times(DurableScheduler(**self.options))
        self.ours.open_journal(Journal(self.folder / str(self.n_starts), "never"))
        assert states(self.ours) == before
        assert self.ours._state._active_workers.keys() == workers.keys()
        for name, worker in self.ours._state._active_workers.items():
            known = workers[name]
            assert (worker.info, worker.disabled, worker.state) == (known.info, known.disabled, known.state)
            worker.last_active, worker.last_get_work = known.last_active, known.last_get_work


restarts = st.tuples(st.just("restart"), st.booleans())


@given(
    st.lists(adds, min_size=8, max_size=20),
    st.lists(st.lists(steps, min_size=5, max_size=20), min_size=2, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_goes_on_where_it_was(tmp_path_factory, first, then, compacts):
    with pytest.MonkeyPatch.context() as monkeypatch:
        pair = Restarted(monkeypatch, tmp_path_factory.mktemp("journal"))
        for operation in first:
            pair.apply(operation)
        for some, compact in zip(then, compacts, strict=False):
            pair.restart(compact)
            for operation in some:
                pair.apply(operation)


def started(path, **options):
    scheduler = DurableScheduler(**options)
    scheduler.open_journal(Journal(path))
    return scheduler


def test_what_is_not_of_tasks_is_kept_too(tmp_path):
    scheduler = started(tmp_path / "j", resources={"db": 1})
    scheduler.update_resource("db", 4)
    scheduler.pause()
    scheduler.add_tasks("w", [{"task_id": "a"}], sequence=7)
    scheduler.close()
    again = started(tmp_path / "j")
    assert again._resources == {"db": 4}
    assert again.is_paused() == {"paused": True}
    again.add_tasks("w", [{"task_id": "b"}], sequence=7)
    assert not again._state.has_task("b")
    again.close()


def test_the_journal_does_not_grow_without_end(tmp_path, monkeypatch):
    from astra.scheduler import journal as module

    monkeypatch.setattr(module, "MIN_COMPACTED_BYTES", 10_000)
    scheduler = started(tmp_path / "j")
    for number in range(400):
        scheduler.add_task(worker="w", task_id="a", status="DONE", expl=f"{number}" * 20)
        scheduler.commit()
    assert (tmp_path / "j").stat().st_size < 15_000
    scheduler.close()
    again = started(tmp_path / "j")
    assert again._state.get_task("a").expl == "399" * 20
    again.close()


def test_what_was_pruned_does_not_come_back(tmp_path):
    scheduler = started(tmp_path / "j", remove_delay=0.0, worker_disconnect_delay=-1.0)
    scheduler.add_task(worker="w", task_id="a", status="DONE")
    scheduler.prune()
    scheduler.prune()
    assert not scheduler._state.has_task("a")
    scheduler.close()
    again = started(tmp_path / "j")
    assert not again._state.has_task("a")
    assert list(again._state.get_worker_ids()) == []
    again.close()


def write_half(descriptor, data):
    os.write(descriptor, data[: len(data) // 2])
    raise OSError(28, "No space left on device")


def test_what_a_full_disk_did_not_take_is_written_whole_later(tmp_path, monkeypatch):
    scheduler = started(tmp_path / "j")
    scheduler.add_tasks("v", [{"task_id": "b", "family": "F"}])
    scheduler.commit()
    scheduler.add_tasks("w", [{"task_id": "a", "family": "F", "params": {"x": "1"}, "deps": ["b"]}])
    with monkeypatch.context() as full:
        full.setattr("astra.scheduler.journal._write_all", write_half)
        for _ in range(2):
            with pytest.raises(StateError, match="No space left"):
                scheduler.commit()
    scheduler.add_worker("w", [("workers", 3)])
    scheduler.commit()
    before = states(scheduler)
    scheduler._journal.close()  # as if it were killed
    again = started(tmp_path / "j")
    assert states(again) == before
    assert again._state.get_worker("w").info == {"workers": 3}
    again.close()


def test_a_journal_that_cannot_be_replaced_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("astra.scheduler.journal.MIN_COMPACTED_BYTES", 1000)
    scheduler = started(tmp_path / "j")
    for worker in ("gone", "v"):
        scheduler.add_tasks(worker, [{"task_id": f"of {worker}", "family": "F"}])
    scheduler.commit()
    scheduler._state.inactivate_workers(["gone"])
    n_tries = []

    def is_full(_, *groups):
        n_tries.append(sum(1 for group in groups for _ in group) > 0)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("astra.scheduler.journal._write_in_parts", is_full)
        for number in range(40):
            scheduler.add_tasks("w", [{"task_id": "a", "family": "F", "expl": f"{number}" * 20}])
            scheduler.commit()
    assert n_tries == [True]  # it takes long
    assert [path.name for path in tmp_path.iterdir()] == ["j"]
    before = states(scheduler)
    scheduler._journal.close()
    again = started(tmp_path / "j")
    assert states(again) == before
    assert again._state.get_task("of v").workers == ("v",)
    again.close()
