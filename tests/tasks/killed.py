"""astra, armed to be killed at a place that the environment names, as ``kill -9`` would."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

import astra.database.apdb
import astra.products.fits_record
from astra.tasks.association import Associate

_calls = {"count": 0}


def is_second_call():
    """Whether this function is called for the second time."""
    _calls["count"] += 1
    return _calls["count"] == 2


def die():
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm_half_written(name):
    """Die with the second file of a name half written."""
    original = astra.products.fits_record.atomic_path

    @contextmanager
    def atomic_path(path):
        with original(path) as temporary:
            yield temporary
            if Path(path).name == name and is_second_call():
                os.truncate(temporary, temporary.stat().st_size // 2)
                die()

    astra.products.fits_record.atomic_path = atomic_path


def arm_half_written_difference():
    """Die with the second difference image half written."""
    arm_half_written("diffexp.fits")


def arm_half_written_template():
    """Die with the second tile of a template half written."""
    arm_half_written("template.fits")


def arm_uncommitted_association():
    """Die with all rows of the second association sent, and the transaction open."""
    original = astra.database.apdb.store_visit

    def store_visit(*arguments, **keywords):
        result = original(*arguments, **keywords)
        if is_second_call():
            die()
        return result

    astra.database.apdb.store_visit = store_visit


def arm_unrecorded_association():
    """Die with the second association committed, and its state not yet written."""
    original = Associate.add_figures

    def add_figures(self, *arguments):
        if is_second_call():
            die()
        return original(self, *arguments)

    Associate.add_figures = add_figures


if "KILL_AT" in os.environ:
    globals()[f"arm_{os.environ['KILL_AT']}"]()
