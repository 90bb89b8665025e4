"""The wrapper of `run` by which every task records its state, whoever calls it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import luigi

from astra.tasks.further import wait_for
from astra.tasks.handed_out import make_recorder
from astra.tasks.handout import current_handout
from astra.tasks.instances import forgotten_instances
from astra.tasks.log_tail import capture_log
from astra.tasks.shared_members import is_made_by_others

if TYPE_CHECKING:
    from astra.tasks.base import AstraTask
    from astra.tasks.recording import Recorder


def recorded(run: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `run` so that its state is written; a call of the parent's `run` from within is passed on."""

    @functools.wraps(run)
    def wrapper(self: AstraTask) -> Any:
        if self.recorder is not None:
            return run(self)
        if self.conclude is not None:
            return self.conclude()
        if not (self.is_batch_mode or current_handout().is_to_do(self)) and self.complete():
            return None  # another process has done it since it was scheduled
        if inspect.isgeneratorfunction(run):
            return _run_generator(self, run)
        with forgotten_instances(), _recording_run(self) as recorder:
            return None if recorder is None else run(self)

    wrapper.asks_for_more = inspect.isgeneratorfunction(run)  # type: ignore[attr-defined]
    return wrapper


def _run_generator(task: AstraTask, run: Callable[..., Any]) -> Generator[Any, Any, Any]:
    """Record a `run` that yields dynamic requirements."""
    with forgotten_instances(), _recording_run(task) as recorder, closing(run(task)) as generator:
        paths = None
        while recorder is not None:
            try:
                needed = generator.send(paths)
            except StopIteration as end:
                return end.value
            required = dynamic_requirements(needed).flat_requirements
            wait_for(task, required)
            paths = yield needed
            recorder.note_dynamic(required)


def dynamic_requirements(yielded: Any) -> luigi.DynamicRequirements:
    """Return what a `run` has yielded as Luigi sees it; it may be wrapped already."""
    return yielded if isinstance(yielded, luigi.DynamicRequirements) else luigi.DynamicRequirements(yielded)


@contextmanager
def _recording_run(task: AstraTask) -> Iterator[Recorder | None]:
    """Record what happens inside, with a recorder; None if there is nothing to do any more."""
    with capture_log() as log:
        recorder = make_recorder(task, log)
        recorder.begin()
        task.figures = {}
        task.empty_metadata()
        task.recorder = recorder
        try:
            if is_made_by_others(recorder):
                recorder.suspend()
                yield None
                return
            recorder.look_at_inputs()
            yield recorder
            recorder.succeed()
        except GeneratorExit:
            recorder.suspend()
            raise
        except BaseException as exc:
            recorder.fail(exc)
            raise
        finally:
            task.recorder = None
