"""Workflow engine for survey data processing: every step is a Luigi task with its state in a database.

================  ==========================================================================
`astra.tasks`     the Luigi tasks: parameters, requirements, outputs and a short run
`astra.database`  state and survey tables; the only SQLAlchemy code
`astra.images`    pure functions on images
`astra.spectra`   pure functions on spectra
`astra.sky`       pure functions on the sphere
`astra.products`  files: paths, readers, atomic writers
`astra.instruments`  one file per camera
`astra.alerts`    alert packets: schema, cutouts, wire format
`astra.simulation`   a seeded sky and camera
`astra.executors`  where tasks run other than in a worker: Slurm, Dask
`astra.plugins`   ingredients chosen by name, open to other distributions
`astra.config`    the options of ``[astra]`` in luigi.cfg
`astra.errors`    the errors that astra raises on purpose
================  ==========================================================================

Importing astra registers every task and sets Luigi's exit codes; it imports nothing heavy. Luigi's parameter
classes, `build`, `inherits` and `requires` have their names here too, as in the task API of 2021; astra's
own are `IdParameter` and `IdsParameter`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any


def _set_numba_cache() -> None:
    """Give numba a cache that can be written: without one its decorators raise at import."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    for folder in (Path(base).expanduser(), Path(tempfile.gettempdir()) / f"astra-{os.getuid()}"):
        cache = folder / "astra" / "numba"
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(cache, os.W_OK):
            os.environ["NUMBA_CACHE_DIR"] = str(cache)
            return


def _set_one_thread() -> None:
    """Keep linear algebra and numba to one thread, unless the environment says otherwise.

    ``ASTRA_ALLOW_IMPLICIT_THREADS`` leaves them alone. Their results change in the last digit
    with the number of threads, and workers that share a machine are slowed down by threads on top of them.
    """
    if os.environ.get("ASTRA_ALLOW_IMPLICIT_THREADS"):
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")


_set_numba_cache()
_set_one_thread()

from luigi import (  # noqa: E402  # the environment comes first
    BoolParameter,
    ChoiceListParameter,
    ChoiceParameter,
    DateHourParameter,
    DateIntervalParameter,
    DateMinuteParameter,
    DateParameter,
    DateSecondParameter,
    DictParameter,
    EnumListParameter,
    EnumParameter,
    FloatParameter,
    IntParameter,
    ListParameter,
    MonthParameter,
    NumericalParameter,
    OptionalBoolParameter,
    OptionalChoiceParameter,
    OptionalDictParameter,
    OptionalFloatParameter,
    OptionalIntParameter,
    OptionalListParameter,
    OptionalNumericalParameter,
    OptionalParameter,
    OptionalPathParameter,
    OptionalStrParameter,
    OptionalTupleParameter,
    Parameter,
    PathParameter,
    StrParameter,
    TaskParameter,
    TimeDeltaParameter,
    TupleParameter,
    YearParameter,
    build,
)
from luigi.util import inherits, requires  # noqa: E402

from astra.tasks.metadata import timer  # noqa: E402
from astra.tasks.runner import astra_version, set_up_luigi  # noqa: E402  # the environment comes first

set_up_luigi()

import astra.tasks.register  # noqa: E402, F401  # Luigi's options come before the tasks
from astra.tasks.parameters import IdParameter, IdsParameter  # noqa: E402

__version__ = astra_version()
__all__ = [
    "BoolParameter",
    "ChoiceListParameter",
    "ChoiceParameter",
    "DateHourParameter",
    "DateIntervalParameter",
    "DateMinuteParameter",
    "DateParameter",
    "DateSecondParameter",
    "DictParameter",
    "EnumListParameter",
    "EnumParameter",
    "FloatParameter",
    "IdParameter",
    "IdsParameter",
    "IntParameter",
    "ListParameter",
    "MonthParameter",
    "NumericalParameter",
    "OptionalBoolParameter",
    "OptionalChoiceParameter",
    "OptionalDictParameter",
    "OptionalFloatParameter",
    "OptionalIntParameter",
    "OptionalListParameter",
    "OptionalNumericalParameter",
    "OptionalParameter",
    "OptionalPathParameter",
    "OptionalStrParameter",
    "OptionalTupleParameter",
    "Parameter",
    "PathParameter",
    "StrParameter",
    "TaskParameter",
    "TimeDeltaParameter",
    "TupleParameter",
    "YearParameter",
    "__version__",
    "build",
    "inherits",
    "requires",
    "run",
    "timer",
]


def __getattr__(name: str) -> Any:
    """Load `run` when it is first asked for."""
    if name != "run":
        message = f"module 'astra' has no attribute {name!r}"
        raise AttributeError(message)
    from astra.tasks.task_runner import run

    return run
