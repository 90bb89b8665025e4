"""What is expensive to make is made once in a session, by whichever process of pytest needs it first."""

import contextlib
import fcntl
import os
import pickle
import shutil
from pathlib import Path


def shared_folder(config):
    """The temporary folder of the session, the same for all processes of pytest-xdist."""
    factory = config._tmp_path_factory
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextlib.contextmanager
def locked(path, kind=fcntl.LOCK_EX):
    """Hold the lock of a file, which a process that ends gives back."""
    with Path(path).open("ab") as stream:
        fcntl.flock(stream, kind)
        yield


def made_once(config, name, make):
    """Return what a function makes of a folder; other processes wait, and get an equal value.

    A process that fails leaves the work to the next, which begins anew.
    """
    folder = shared_folder(config) / name
    value = folder.with_name(f"{name}.pickle")
    with locked(folder.with_name(f"{name}.lock")):
        if not value.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            unfinished = value.with_suffix(".unfinished")
            unfinished.write_bytes(pickle.dumps(make(folder)))
            unfinished.replace(value)
        return pickle.loads(value.read_bytes())  # noqa: S301  # of this session
