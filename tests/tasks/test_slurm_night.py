"""A simulated night whose steps run as arrays of jobs, from raw frames to alerts."""

import pytest

from astra.alerts.files import read_alerts
from astra.products.layout import alert_path
from tests.executors.conftest import cluster  # noqa: F401  # a fixture
from tests.executors.submitter import Site
from tests.tasks.night import attempts, states

pytestmark = pytest.mark.slow

LOCAL = ("DefineVisits", "IngestRaws", "IngestReferenceCatalog")
STEPS = ("ProcessCcd", "DiffIm", "Associate", "PackageAlerts")


def test_a_night_runs_as_arrays_of_jobs(night, tmp_path, cluster):  # noqa: F811
    pair = night.pairs[0]
    site = Site(tmp_path, cluster)
    site.configure("memory = 1500", "[executors]\n" + "".join(f"{name} = local\n" for name in LOCAL))
    process = site.start("ApPipe", *night.arguments([pair]), module="astra")
    assert site.finish(process) == 0, site.log[-3000:]
    for family in STEPS:
        found = states(tmp_path, family)
        assert found[pair] == "done"
        assert set(found.values()) == {"done"}
    assert len(read_alerts(alert_path(tmp_path, *pair))) > 0
    # Every member ran once, in a job of the one array of its level.
    arrays = dict(site.rows("SELECT family, count(DISTINCT submission) FROM job GROUP BY family"))
    assert set(STEPS) <= set(arrays)
    assert not {*LOCAL, "ApPipe"} & set(arrays)
    tried = attempts(tmp_path)
    assert {family: tried[family] for family in STEPS} == {
        family: len(states(tmp_path, family)) for family in STEPS
    }
    assert all(status == 1 for _, status, _ in site.jobs())
    nodes = {node for (node,) in site.rows("SELECT DISTINCT host FROM job")}
    assert nodes <= {"n1", "n2"}
