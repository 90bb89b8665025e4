import os
import stat

import pytest

from astra.errors import ConfigError, DataError, MissingDataError
from astra.products.progress import Progress
from astra.products.rsync import RsyncConfig, rsync_files


@pytest.fixture
def top(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("RSYNC_PASSWORD", raising=False)
    return tmp_path / "sas"


def config(server, user="", **kwargs):
    address = server.url.replace("//", f"//{user}@" if user else "//")
    return RsyncConfig(address, pause_s=0.0, timeout_s=10, **kwargs)


def test_files_of_a_module_come_in_one_call(rsync_daemon, top):
    put = [
        rsync_daemon.put(f"dr17/apogee/{number % 3}/{number} +a.fits", b"%d" % number) for number in range(30)
    ]
    put += [rsync_daemon.put(f"dr19/spectro/{number}.fits") for number in range(3)]
    before = rsync_daemon.n_calls()
    sentences = []
    progress = Progress(sentences.append)
    assert rsync_files(put, top, config(rsync_daemon), progress=progress) == {}
    assert [(top / name).read_bytes() for name in put[:30]] == [b"%d" % number for number in range(30)]
    assert rsync_daemon.n_calls() - before == 2
    assert (progress.n_done, progress.n_bytes) == (33, 50 + 21)
    assert stat.S_IMODE((top / put[0]).stat().st_mode) & 0o600 == 0o600


def test_file_that_the_server_lacks_fails_alone(rsync_daemon, top):
    there = rsync_daemon.put("dr17/a/there.fits")
    gone = ["dr17/a/gone.fits", 'dr17/b/strange "name": (in x).fits']
    errors = rsync_files([there, *gone], top, config(rsync_daemon))
    assert sorted(errors) == sorted(gone)
    assert all(isinstance(error, MissingDataError) for error in errors.values())
    assert str(errors[gone[0]]) == f"{rsync_daemon.url}/dr17/a/gone.fits does not exist"
    assert (top / there).is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="a daemon without chroot follows no links")
def test_links_of_the_archive_are_followed(rsync_daemon, top):
    rsync_daemon.put("dr17/real/a.fits", b"linked")
    os.symlink("real", rsync_daemon.folder / "dr17/alias")
    assert rsync_files(["dr17/alias/a.fits"], top, config(rsync_daemon)) == {}
    assert (top / "dr17/alias/a.fits").read_bytes() == b"linked"
    assert not (top / "dr17/alias").is_symlink()


def test_module_that_the_server_lacks_is_named(rsync_daemon, top):
    errors = rsync_files(["dr99/a.fits"], top, config(rsync_daemon))
    assert isinstance(errors["dr99/a.fits"], MissingDataError)
    assert "/dr99 does not exist: the server has no such module" in str(errors["dr99/a.fits"])


def test_password_comes_from_the_environment_a_file_or_netrc(rsync_daemon, top, tmp_path, monkeypatch):
    names = [rsync_daemon.put(f"sdsswork/{number}.fits") for number in range(3)]
    own = config(rsync_daemon, "sdss5")
    monkeypatch.setenv("RSYNC_PASSWORD", "v3ry")
    assert rsync_files(names[:1], top, own) == {}
    monkeypatch.delenv("RSYNC_PASSWORD")
    (tmp_path / "word").write_text("v3ry\n")
    (tmp_path / "word").chmod(0o600)
    assert rsync_files(names[1:2], top, config(rsync_daemon, "sdss5", password_file=tmp_path / "word")) == {}
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login sdss5 password v3ry\n")
    assert rsync_files(names[2:], top, own) == {}


def test_login_that_fails_says_what_to_do_and_never_asks(rsync_daemon, top, tmp_path, monkeypatch):
    name = rsync_daemon.put("sdsswork/a.fits")
    own = config(rsync_daemon, "sdss5")

    def error(chosen=own):
        found = rsync_files([name], top, chosen)[name]
        assert isinstance(found, ConfigError)
        return str(found)

    assert "needs a login: the server's address must name a user" in error(config(rsync_daemon))
    assert "needs the password of sdss5: RSYNC_PASSWORD is not set, and the entry of machine" in error()
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login sdss5 password wrong\n")
    assert "netrc was refused" in error()
    monkeypatch.setenv("RSYNC_PASSWORD", "wrong")
    assert "see RSYNC_PASSWORD of the environment" in error()
    with pytest.raises(ConfigError, match=r"password file .*none of rsync does not exist"):
        error(config(rsync_daemon, "sdss5", password_file=tmp_path / "none"))


def test_password_stands_in_no_command_line(rsync_daemon, top, tmp_path, monkeypatch):
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexec rsync "$@"\n')
    spy.chmod(0o700)
    monkeypatch.setenv("RSYNC_PASSWORD", "v3ry")
    name = rsync_daemon.put("sdsswork/spied.fits")
    assert rsync_files([name], top, config(rsync_daemon, "sdss5", program=str(spy))) == {}
    arguments = (tmp_path / "arguments").read_text()
    assert "v3ry" not in arguments
    assert "spied" not in arguments


def test_server_that_is_down_is_tried_some_times(top):
    errors = rsync_files(["dr17/a.fits", "dr17/b.fits"], top, RsyncConfig("rsync://127.0.0.1:9", pause_s=0.0))
    assert len(errors) == 2
    assert all("could not be fetched in 4 attempts: rsync: " in str(error) for error in errors.values())
    assert all(isinstance(error, DataError) for error in errors.values())


def test_program_that_is_not_installed_is_one_sentence(top):
    with pytest.raises(ConfigError, match="program none-such is not installed: apt-get install rsync"):
        rsync_files(["dr17/a.fits"], top, RsyncConfig("rsync://127.0.0.1:9", program="none-such"))


def test_what_a_broken_call_has_brought_is_kept(rsync_daemon, top, tmp_path):
    first, second = rsync_daemon.put("dr17/k/1.fits"), rsync_daemon.put("dr17/k/2.fits")
    count = tmp_path / "count"
    flaky = tmp_path / "flaky"
    flaky.write_text(
        f"#!/bin/sh\necho x >> {count}\n"
        f'if [ "$(wc -l < {count})" -eq 1 ]; then mkdir -p {top}/dr17/k; echo 1 > {top}/dr17/k/1.fits;'
        ' echo "rsync error: timeout" >&2; exit 30; fi\nexec rsync "$@"\n'
    )
    flaky.chmod(0o700)
    assert rsync_files([first, second], top, config(rsync_daemon, program=str(flaky))) == {}
    assert (top / second).read_bytes() == (top / first).read_bytes() == b"content"
