"""The simulated night that the tests of the tasks share, also those of several processes of pytest."""

import fcntl
import sqlite3

import pytest

from tests.scheduler.conftest import Server
from tests.shared_products import locked, made_once, shared_folder
from tests.tasks.night import Night, build, copy_root


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Let nobody read the raw frames of the night while a test changes one."""
    if "night" not in item.fixturenames:
        return (yield)
    kind = fcntl.LOCK_EX if "alone_with_night" in item.fixturenames else fcntl.LOCK_SH
    with locked(shared_folder(item.config) / "night-in-use.lock", kind):
        return (yield)


@pytest.fixture
def alone_with_night(night):
    """The simulated night, which this test may change if it restores it: no other test uses it meanwhile."""
    return night


@pytest.fixture(scope="session")
def night(pytestconfig):
    """Raw frames, reference catalogue and truth of a simulated night."""
    return made_once(pytestconfig, "simulated", Night)


@pytest.fixture(scope="session")
def processed_root(night, pytestconfig):
    """A root in which the whole night has been processed; not to be changed. Beside it is how it began."""

    def process(root):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASTRA_ROOT", str(root))
            for name, task in night.steps().items():
                assert build(task)
                close_database(root)
                copy_root(root, root.with_name(name))
            assert build(night.pipeline())
        close_database(root)
        return root

    return made_once(pytestconfig, "processed", process)


def close_database(root):
    """Leave one file of the database of a root, so that readers make none that a copy would take along."""
    from astra.database.engine import dispose_engines

    dispose_engines()
    connection = sqlite3.connect(root / "astra.db")
    assert connection.execute("PRAGMA journal_mode = delete").fetchone() == ("delete",)
    connection.close()


@pytest.fixture
def processed(processed_root, astra_root):
    """A copy of the processed root, which a test may damage."""
    copy_root(processed_root, astra_root)
    return astra_root


@pytest.fixture
def begun(processed_root, astra_root):
    """Make the root of this test that of the night after one of `Night.steps`."""

    def copy(step):
        copy_root(processed_root.with_name(step), astra_root)
        return astra_root

    return copy


@pytest.fixture
def central(tmp_path_factory):
    """A scheduler of its own, on loopback."""
    server = Server(tmp_path_factory.mktemp("scheduler"))
    server.start()
    yield server
    server.stop()
