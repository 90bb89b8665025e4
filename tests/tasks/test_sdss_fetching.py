import hashlib
from pathlib import Path

import luigi
import pytest

from astra.errors import ConfigError, DataError, MissingDataError
from astra.tasks.io import sdss4, sdss5
from tests.products.http_server import Server

VISIT = {"plate": "15000", "field": "13030", "mjd": 59146, "apred": "1.3", "telescope": "apo25m"}
OLD = {"plateid": 266, "mjd": 51602, "run2d": "26", "release": "dr17"}


@pytest.fixture
def sas(tmp_path, monkeypatch, astra_root):
    monkeypatch.setenv("SAS_BASE_DIR", str(tmp_path / "sas"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "sas"


@pytest.fixture
def server(sas, astra_option):
    with Server() as server:
        astra_option("sas_server", server.url)
        yield server


@pytest.fixture
def daemon(sas, astra_option, rsync_daemon):
    astra_option("sas_rsync_server", rsync_daemon.url)
    return rsync_daemon


def visits(*fibers, **kwargs):
    return sdss5.ApVisitFile(
        fiber=fibers if len(fibers) > 1 else fibers[0], release="dr19", **VISIT, **kwargs
    )


def place(task):
    """Path of a file on the server."""
    return "/" + task.output().location


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="INFO", no_lock=True)


def codes(batch):
    return [task.query_state().one().status_code for task in batch.get_batch_tasks()]


def test_nothing_is_asked_before_a_file_is_fetched(server):
    task = visits(7, use_remote=True)
    assert not task.complete()
    _ = (task.output().exists(), task.local_path, task.remote_path, task.why_incomplete())
    assert server.asked == []


def test_file_is_fetched_where_it_may_be_and_again_when_it_is_gone(server):
    server.rules[place(visits(7))] = {"content": b"content"}
    build(visits(7))
    assert server.asked == []
    task = visits(7, use_remote=True)
    assert build(task)
    assert Path(task.local_path).read_bytes() == b"content"
    assert build(task)
    assert len(server.asked) == 1
    Path(task.local_path).unlink()
    assert build(task)
    assert len(server.asked) == 2
    assert visits(7).complete()


def test_empty_file_that_another_program_has_left_is_fetched(server):
    task = visits(7, use_remote=True)
    Path(task.local_path).parent.mkdir(parents=True)
    Path(task.local_path).touch()
    server.rules[place(task)] = {"content": b"content"}
    assert visits(7).complete()
    assert build(task)
    assert Path(task.local_path).read_bytes() == b"content"


def test_members_that_cannot_be_fetched_fail_alone_each_for_its_reason(server, sas):
    batch = visits(1, 2, 3, 4, 5, use_remote=True)
    places = [place(task) for task in batch.get_batch_tasks()]
    server.rules |= {path: {"content": b"content"} for path in places}
    server.rules[places[1]] = {"status": 404}
    server.rules[places[2]] = {"status": 403}
    server.rules[places[3]]["login"] = "sdss:word"
    assert not build(batch)
    assert [target.exists() for target in batch.output()] == [True, False, False, False, True]
    assert codes(batch) == [1, 30, 30, 30, 1]
    n_asked = len(server.asked)
    server.rules |= {path: {"content": b"content"} for path in places}
    assert build(batch)
    assert codes(batch) == [1] * 5
    assert len(server.asked) == n_asked + 3


def test_reason_stands_in_the_state_with_address_and_machine(server, run_sql):
    task = visits(7, use_remote=True)
    server.rules[place(task)] = {"content": b"", "login": "sdss:word"}
    assert not build(task)
    message, context = run_sql(task, "error_class, message")
    assert message == "ConfigError"
    assert f"{task.remote_path} needs a login (HTTP 401): the entry of machine 127.0.0.1 in" in context


@pytest.fixture
def run_sql():
    """Read columns of the last attempt at a task."""
    import sqlite3

    def read(task, columns):
        with sqlite3.connect(task.database_url.removeprefix("sqlite:///")) as connection:
            query = f"SELECT {columns} FROM task_attempt JOIN task ON task.pk = task_pk WHERE task_id = ?"  # noqa: S608
            row = connection.execute(query, (task.task_id,)).fetchone()
        connection.close()
        return row

    return read


def test_batch_is_fetched_over_few_connections_with_progress_and_figures(server, caplog, run_sql):
    batch = visits(*range(1, 61), use_remote=True, n_connections=3)
    server.rules |= {place(task): {"content": b"content"} for task in batch.get_batch_tasks()}
    assert build(batch)
    assert all(Path(target.path).read_bytes() == b"content" for target in batch.output())
    assert server.n_connections <= 6
    assert len(server.asked) == 60
    assert set(codes(batch)) == {1}


def test_one_file_of_two_members_is_fetched_once(server):
    batch = sdss4.ApVisitFile(
        **VISIT | {"apred": "r12"}, fiber=(7, 7), prefix=("ap", ""), release="dr16", use_remote=True
    )
    server.rules[place(next(batch.get_batch_tasks()))] = {"content": b"content"}
    assert build(batch)
    assert len(server.asked) == 1
    assert codes(batch) == [1, 1]


def test_compressed_file_of_the_server_counts(server):
    task = visits(7, use_remote=True)
    server.rules[place(task) + ".gz"] = {"content": b"packed"}
    assert build(task)
    assert task.local_path.endswith(".fits.gz")
    assert task.complete()


def test_checksums_of_a_list_are_required(server, sas, tmp_path):
    batch = visits(7, 8, use_remote=True)
    first, second = (place(task) for task in batch.get_batch_tasks())
    server.rules |= {first: {"content": b"content"}, second: {"content": b"damaged"}}
    digest = hashlib.sha1(b"content", usedforsecurity=False).hexdigest()
    folder = (sas / first[1:]).parent
    folder.mkdir(parents=True)
    for path, names in (
        (tmp_path / "list", (first[1:], second[1:])),
        (folder / "list", [Path(p).name for p in (first, second)]),
    ):
        path.write_text("".join(f"{digest}  {name}\n" for name in names))
        assert not build(visits(7, 8, use_remote=True, checksums=str(path)))
        assert [target.exists() for target in batch.output()] == [True, False]
    with pytest.raises(DataError, match="must have the sha1"):
        visits(8, checksums=str(path)).get_remote()


def test_file_is_fetched_by_hand(server):
    task = visits(7)
    server.rules[place(task)] = {"content": b"content"}
    assert task.get_remote() == task.get_remote_http() == task.local_path
    assert len(server.asked) == 1
    batch = visits(7, 8)
    with pytest.raises(MissingDataError, match=r"-008\.fits does not exist \(HTTP 404\)"):
        batch.get_remote()
    server.rules[place(visits(8))] = {"content": b"content"}
    assert batch.get_remote() == [target.path for target in batch.output()]
    with pytest.raises(ValueError, match="remote_access_method must be http or rsync, not 'ftp'"):
        visits(7, remote_access_method="ftp").get_remote()


def test_unknown_way_of_fetching_is_refused(server):
    assert not build(visits(7, use_remote=True, remote_access_method="ftp"))
    assert server.asked == []


def test_batch_comes_by_rsync_in_one_call_for_a_module(daemon, sas):
    batch = sdss4.SpecFile(fiberid=(1, 2, 3), **OLD, use_remote=True, remote_access_method="rsync")
    tasks = list(batch.get_batch_tasks())
    daemon.put(place(tasks[0])[1:], b"one")
    daemon.put(place(tasks[2])[1:] + ".gz", b"three")
    before = daemon.n_calls()
    assert not build(batch)
    assert codes(batch) == [1, 30, 1]
    assert Path(batch.output()[0].path).read_bytes() == b"one"
    assert batch.output()[2].path.endswith(".fits.gz")
    assert daemon.n_calls() - before == 2  # once more for those that may be compressed
    daemon.put(place(tasks[1])[1:], b"two")
    assert build(batch)
    assert tasks[1].get_remote_rsync() == tasks[1].local_path


def test_rsync_of_the_collaboration_needs_its_password(daemon, sas, astra_option, tmp_path, monkeypatch):
    monkeypatch.delenv("RSYNC_PASSWORD", raising=False)
    astra_option("sas_rsync_server", daemon.url.replace("//", "//sdss5@"))
    task = sdss5.ApVisitFile(fiber=9, **VISIT)
    daemon.put(place(task)[1:])
    with pytest.raises(ConfigError, match="needs the password of sdss5: RSYNC_PASSWORD is not set"):
        task.get_remote_rsync()
    (tmp_path / "word").write_text("v3ry\n")
    (tmp_path / "word").chmod(0o600)
    astra_option("rsync_login_file", str(tmp_path / "word"))
    assert Path(task.get_remote_rsync()).read_bytes() == b"content"


def test_wrong_checksum_of_a_file_by_rsync_removes_it(daemon, tmp_path):
    task = sdss4.SpecFile(fiberid=77, **OLD, checksums=str(tmp_path / "list"))
    daemon.put(place(task)[1:])
    (tmp_path / "list").write_text(f"{'0' * 64}  {place(task)[1:]}\n")
    with pytest.raises(DataError, match="must have the sha256"):
        task.get_remote_rsync()
    assert not task.complete()


def test_command_line_fetches_a_batch(server, sas, run_luigi):
    batch = visits(7, 8)
    server.rules |= {place(task): {"content": b"content"} for task in batch.get_batch_tasks()}
    (sas.parent / "luigi.cfg").write_text(f"[astra]\nsas_server = {server.url}\n")
    arguments = [item for name, value in VISIT.items() for item in (f"--{name}", value)]
    result = run_luigi("ApVisitFile", *arguments, "--fiber", "7..8", "--release", "dr19", "--use-remote")
    assert result.returncode == 0, result.stderr
    assert "fetching: 2 of 2 files" in result.stderr
    assert batch.complete()
