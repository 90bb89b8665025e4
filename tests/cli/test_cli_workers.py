import luigi
import pytest

from astra.cli import main
from astra.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--cpus", "2"], "--cpus is for jobs: give --slurm, too"),
        (["--max-running", "3", "--time", "10"], "--time, --max-running is for jobs: give --slurm, too"),
    ],
)
def test_resources_of_jobs_are_no_options_of_workers_on_this_host(astra_root, capsys, given, words):
    with pytest.raises(SystemExit) as caught:
        main(["workers", *given])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_scheduler_without_http_is_refused_before_anything_is_tried(astra_root, capsys):
    assert main(["workers", "--count", "1", "--scheduler-url", "10.0.0.1:8082"]) == 1
    assert "address must be http://HOST:PORT/ or https://HOST:PORT/, found '10.0.0.1:8082'" in (
        capsys.readouterr().err
    )


def test_a_run_refuses_such_an_address_too(astra_root):
    with pytest.raises(ConfigError, match=r"must be http://HOST:PORT/ .* found '10\.0\.0\.1:8082'"):
        luigi.interface._WorkerSchedulerFactory().create_remote_scheduler("10.0.0.1:8082")
