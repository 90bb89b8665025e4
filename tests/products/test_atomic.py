import gzip
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from astra.products import atomic
from astra.products.atomic import (
    atomic_path,
    checksum,
    is_temporary,
    sweep_leftovers,
    write_bytes,
    write_text,
)

WRITER = """
import sys, time
from astra.products.atomic import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    sys.stdout.write("writing")
    sys.stdout.flush()
    time.sleep(60)
"""


def write_half(path):
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("boom")


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_finished_file_is_whole_and_alone_in_its_folder(tmp_path):
    target = tmp_path / "new" / "a.fits"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"content")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    "name", ["a.fits", "a.fits.gz", "a b.tar.gz", "x" * 240 + ".fits", "é" * 120 + ".gz"]
)
def test_the_temporary_name_ends_as_the_target_does(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert "".join(temporary.suffixes[-1:]) == "".join(Path(name).suffixes[-1:])
        assert is_temporary(temporary)
        temporary.write_bytes(b"")
    assert not is_temporary(tmp_path / name)


def test_an_error_leaves_neither_target_nor_temporary(tmp_path):
    with pytest.raises(RuntimeError, match="boom"):
        write_half(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_older_file(tmp_path):
    write_bytes(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError, match="boom"):
        write_half(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_target_do_not_share_a_temporary(tmp_path):
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_killed_writer_leaves_nothing_that_counts_and_is_swept(tmp_path):
    target = tmp_path / "a.fits"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.read(7) == b"writing"
        assert sweep_leftovers(tmp_path) == []
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert not target.exists()
    (leftover,) = tmp_path.iterdir()
    assert is_temporary(leftover)
    assert sweep_leftovers(tmp_path) == [leftover]
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_keeps_other_hosts_living_writers_and_other_files(tmp_path, monkeypatch):
    pid = dead_pid()
    living = tmp_path / atomic._temporary_name("a")
    stranger = tmp_path / f".tmp~somewhere.else~{pid}~0a~a"
    others = [tmp_path / "a", tmp_path / ".tmp~notours", tmp_path / "deep" / ".hidden"]
    dead = tmp_path / "deep" / f".tmp~{atomic._host()}~{pid}~0a~a"
    (tmp_path / "deep").mkdir()
    for path in (living, stranger, dead, *others):
        path.touch()
    assert sweep_leftovers(tmp_path) == [dead]
    assert all(path.exists() for path in (living, stranger, *others))


def test_sweeping_a_folder_that_is_not_there_removes_nothing(tmp_path):
    assert sweep_leftovers(tmp_path / "nowhere") == []


def test_checksum_is_sha256_of_the_bytes(tmp_path):
    content = os.urandom(3 * (1 << 20) + 17)
    write_bytes(tmp_path / "a", content)
    assert checksum(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "a", "Ångström")
    assert (tmp_path / "a").read_bytes() == "Ångström".encode()


def test_compression_by_suffix_works_through_the_temporary(tmp_path):
    with atomic_path(tmp_path / "a.gz") as temporary, gzip.open(temporary, "wb") as stream:
        stream.write(b"content")
    with gzip.open(tmp_path / "a.gz") as stream:
        assert stream.read() == b"content"
