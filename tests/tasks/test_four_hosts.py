"""One night on four hosts, network namespaces of this machine: PostgreSQL and the scheduler on the first."""

import pytest

from benchmarks import four_hosts
from tests.conftest import ON_CI


@pytest.fixture
def hosts_can_be_made():
    """Skip where they cannot, but for CI, which must not."""
    reason = four_hosts.why_not()
    if reason and ON_CI:
        pytest.fail(f"{reason}, and CI must not skip it: run as root, with iproute2 and postgresql")
    if reason:
        pytest.skip(reason)


def test_four_hosts_leave_the_rows_of_one(hosts_can_be_made, night, processed_root, tmp_path):
    with four_hosts.Hosts(4) as hosts:
        shared = four_hosts.on_hosts(night.files, 2, tmp_path, hosts, count=1)
    _, cpu_s, found, attempts = shared
    expected = four_hosts.rows_of(processed_root)
    assert {name: rows for name, rows in found.items() if rows != expected[name]} == {}
    assert set(attempts) >= {"host1", "host2", "host3"}, "each of them must have had its part"
    assert all(seconds > 0 for seconds in cpu_s.values())
