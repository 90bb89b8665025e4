"""The simulated night that the tests of the tasks share."""

import os

import pytest

from tests.tasks.night import Night, build, copy_root


@pytest.fixture(scope="session")
def night(tmp_path_factory):
    """Raw frames, reference catalogue and truth of a simulated night."""
    return Night(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="session")
def processed_root(night, tmp_path_factory):
    """A root in which the whole night has been processed; not to be changed."""
    root = tmp_path_factory.mktemp("processed")
    before = os.environ.get("ASTRA_ROOT")
    os.environ["ASTRA_ROOT"] = str(root)
    try:
        assert build(night.pipeline())
    finally:
        if before is None:
            del os.environ["ASTRA_ROOT"]
        else:
            os.environ["ASTRA_ROOT"] = before
    return root


@pytest.fixture
def processed(processed_root, astra_root):
    """A copy of the processed root, which a test may damage."""
    copy_root(processed_root, astra_root)
    return astra_root
