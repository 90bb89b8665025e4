"""The demonstration, as a newcomer runs it."""

import re

from astra.alerts.files import read_alerts


def test_demo_finds_most_transients_and_says_where_all_lies(tmp_path, run_luigi):
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    result = run_luigi("Demo", "--output-root", folder / "astra-demo")
    assert result.returncode == 0, result.stderr
    found, injected = map(
        int, re.search(r"(\d+) of (\d+) injected transients recovered", result.stdout).groups()
    )
    alerts = int(re.search(r"(\d+) alerts written", result.stdout).group(1))
    assert injected > 15
    assert found > 0.7 * injected
    files = list((folder / "astra-demo" / "alerts").glob("*.avro"))
    assert alerts == sum(len(read_alerts(path)) for path in files) >= found
    assert "0 failed" in result.stdout
    assert (folder / "astra-demo" / "astra.db").exists()
    again = run_luigi("Demo", "--output-root", folder / "astra-demo")
    assert again.returncode == 0
    assert again.stdout == ""
