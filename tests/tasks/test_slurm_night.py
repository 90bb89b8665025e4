"""A simulated night whose steps run as arrays of jobs: what comes out is what one process makes."""

import pytest

from tests.executors.conftest import cluster  # noqa: F401  # a fixture
from tests.executors.submitter import Site
from tests.tasks.night import attempts, sqlite_rows, states

pytestmark = pytest.mark.slow

LOCAL = ("DefineVisits", "IngestRaws", "IngestReferenceCatalog")


def test_a_night_as_arrays_gives_what_one_process_gives(night, processed_root, tmp_path, cluster):  # noqa: F811
    site = Site(tmp_path, cluster)
    site.configure("memory = 1000", "[executors]\n" + "".join(f"{name} = local\n" for name in LOCAL))
    process = site.start("ApPipe", *night.arguments(), module="astra")
    assert site.finish(process) == 0, site.log[-3000:]
    for family in ("ProcessCcd", "DiffIm", "Associate", "PackageAlerts"):
        assert states(tmp_path, family) == states(processed_root, family)
    assert sqlite_rows(tmp_path) == sqlite_rows(processed_root)
    assert attempts(tmp_path) == attempts(processed_root)
    arrays = dict(site.rows("SELECT family, count(DISTINCT submission) FROM job GROUP BY family"))
    assert {"ProcessCcd", "DiffIm", "Associate", "PackageAlerts"} <= set(arrays)
    assert not set(LOCAL) & set(arrays)
    assert all(status == 1 for _, status, _ in site.jobs())
