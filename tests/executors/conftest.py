"""A Slurm of two nodes, and a root of products whose tasks run on it."""

import pytest

from tests.conftest import ON_CI
from tests.executors.slurm_cluster import Cluster, is_installed
from tests.executors.submitter import Site
from tests.postgresql import free_port


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if not is_installed():
        if ON_CI:
            pytest.fail("Slurm is not installed, and CI must not skip it: apt-get install munge slurm-wlm")
        pytest.skip("Slurm is not installed, or this is not root")
    made = Cluster(tmp_path_factory.mktemp("slurm"), [free_port() for _ in range(3)])
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def site(tmp_path, cluster):
    made = Site(tmp_path, cluster)
    yield made
    made.close()
