"""Which of the calibrated exposures that may make a template do, by what only they tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from astra.errors import MissingDataError, NoOverlapError

if TYPE_CHECKING:
    from astra.database.templates import Candidates
    from astra.products.template_files import TemplateInput

NOT_CALIBRATED = "not calibrated"
BLURRED = "blurred"
NOT_AMONG = "not among the sharpest"


def read_inputs(url: str, tasks: Sequence[Any]) -> list[TemplateInput]:
    """Look at the calibrations that a template has asked for; one that failed is left out, with its reason.

    Parameters
    ----------
    url : str
        Of the database.
    tasks : sequence of ProcessCcd
        The calibrations.

    Raises
    ------
    DataError
        If the file of one that is done is gone or damaged.
    """
    done, errors = _outcomes(url, tasks)
    return [
        _read_input(task, None if task.task_id in done else errors.get(task.task_id, "not done"))
        for task in tasks
    ]


def built(url: str, tasks: Sequence[Any]) -> list[Any]:
    """Return the tiles of a template that are built; one that nothing lies on is left out.

    Parameters
    ----------
    url : str
        Of the database.
    tasks : sequence of BuildTemplate
        The tiles that a detector has asked for.

    Raises
    ------
    NoOverlapError
        If none is left.
    MissingDataError
        If one could not be built for another reason.
    """
    done, errors = _outcomes(url, tasks)
    empty = f"{NoOverlapError.__name__}: "
    for task in tasks:
        error = errors.get(task.task_id, "it has not run")
        if task.task_id not in done and not error.startswith(empty):
            message = f"{task.what} is not there: {error}"
            raise MissingDataError(message, task_id=task.task_id, tile=task.tile)
    found = [task for task in tasks if task.task_id in done]
    if not found:
        reason = errors[tasks[0].task_id].removeprefix(empty)
        message = f"nothing lies on any of {len(tasks)} tiles; the first: {reason}"
        raise NoOverlapError(message, n_tiles=len(tasks))
    return found


def _outcomes(url: str, tasks: Sequence[Any]) -> tuple[set[str], dict[str, str]]:
    """Return the ids of the tasks that are done, and what the others said last."""
    from astra.database.engine import reading
    from astra.database.queries import last_errors, task_states

    ids = {task.task_id for task in tasks}
    with reading(url) as connection:
        states, errors = task_states(connection, ids), last_errors(connection, ids)
    return {task_id for task_id, state in states.items() if state.status_code == 1}, errors


def _read_input(task: Any, failure: str | None) -> TemplateInput:
    from astra.products.template_files import TemplateInput, read_fwhm_arcsec

    found = TemplateInput(task.visit, task.detector, str(task.path("calexp")))
    if failure is not None:
        return found.without(f"{NOT_CALIBRATED}: {failure}")
    fwhm = read_fwhm_arcsec(found.path)
    return TemplateInput(found.visit, found.detector, found.path, fwhm)


def leave_out_blurred(inputs: list[TemplateInput], max_fwhm_arcsec: float | None) -> list[TemplateInput]:
    """Leave out what has a PSF of a larger FWHM [arcsec]."""
    if max_fwhm_arcsec is None:
        return inputs
    limit = max_fwhm_arcsec
    return [
        one.without(f"{BLURRED}: FWHM {one.fwhm_arcsec:.2f} above {limit:g} arcsec")
        if one.fwhm_arcsec is not None and one.fwhm_arcsec > limit
        else one
        for one in inputs
    ]


def keep_sharpest(inputs: list[TemplateInput], max_visits: int | None) -> list[TemplateInput]:
    """Keep the sharpest visits, by the median FWHM of their detectors; of equals the first."""
    import numpy as np

    widths: dict[int, list[float]] = {}
    for one in inputs:
        if one.used and one.fwhm_arcsec is not None:
            widths.setdefault(one.visit, []).append(one.fwhm_arcsec)
    if max_visits is None or len(widths) <= max_visits:
        return inputs
    order = sorted(widths, key=lambda visit: (float(np.median(widths[visit])), visit))
    kept = set(order[:max_visits])
    return [one if one.visit in kept else one.without(f"{NOT_AMONG} {max_visits} visits") for one in inputs]


def refuse_none_found(found: Candidates, what: str) -> None:
    """Refuse to go on without any exposure, and say what became of the visits.

    Raises
    ------
    NoOverlapError
        If there is none.
    """
    if found.pairs:
        return
    lost = ", ".join(f"{number} {words}" for words, number in found.dropped.items())
    visits = f"of {found.n_visits} visits none is left" if found.n_visits else "there is no visit"
    message = f"{visits} for {what}{f': {lost}' if lost else '; ingest and define some'}"
    raise NoOverlapError(message, n_visits=found.n_visits, dropped=found.dropped)


def refuse_none_used(inputs: Sequence[TemplateInput], what: str) -> None:
    """Refuse to go on if all exposures were left out, and say why.

    Raises
    ------
    NoOverlapError
        If none is used.
    """
    if any(one.used for one in inputs):
        return
    reasons = Counter(one.reason.partition(":")[0] for one in inputs)
    counts = ", ".join(f"{number} {words}" for words, number in reasons.items())
    first = inputs[0]
    message = (
        f"of {len(inputs)} exposures none is left for {what}: {counts}; "
        f"visit {first.visit}, detector {first.detector}: {first.reason}"
    )
    raise NoOverlapError(message, n_exposures=len(inputs), dropped=dict(reasons))
