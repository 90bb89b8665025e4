import pytest

from astra.errors import FormatError, StateError
from astra.scheduler.journal import Journal

CHANGES = [{"t": "a", "s": "PENDING"}, {"t": "\u2192", "s": "DONE"}]


def written(path, changes=CHANGES):
    journal = Journal(path)
    list(journal.read())
    journal.write(changes)
    journal.close()
    return path.read_bytes()


def read(path):
    journal = Journal(path)
    try:
        return list(journal.read())
    finally:
        journal.close()


def test_what_was_written_is_read(tmp_path):
    written(tmp_path / "j")
    written(tmp_path / "j", [{"more": 1}])
    assert read(tmp_path / "j") == [*CHANGES, {"more": 1}]


def test_a_last_line_cut_anywhere_is_dropped_and_what_follows_is_whole(tmp_path):
    whole = written(tmp_path / "j")
    begin = whole[:-1].rindex(b"\n") + 1
    for end in range(begin, len(whole)):
        (tmp_path / "j").write_bytes(whole[:end])
        assert read(tmp_path / "j") == CHANGES[:1]
        assert written(tmp_path / "j", [CHANGES[1]]) == whole


@pytest.mark.parametrize("change", [b"x", b"\0"])
def test_a_damaged_line_before_the_last_is_refused(tmp_path, change):
    whole = bytearray(written(tmp_path / "j"))
    whole[whole.index(b"PENDING")] = change[0]
    (tmp_path / "j").write_bytes(whole)
    with pytest.raises(FormatError, match=r"line 2 of the journal .* is damaged"):
        read(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == whole


def test_another_file_is_refused(tmp_path):
    (tmp_path / "j").write_text("once upon a time\nthere was no journal\n")
    with pytest.raises(FormatError, match="line 1"):
        read(tmp_path / "j")


def test_two_schedulers_cannot_share_a_journal(tmp_path):
    journal = Journal(tmp_path / "j")
    with pytest.raises(StateError, match="in use by another scheduler"):
        Journal(tmp_path / "j")
    journal.close()


def test_nor_if_it_is_replaced_while_the_second_one_opens_it(tmp_path, monkeypatch):
    from astra.scheduler import journal as module

    first, lock = Journal(tmp_path / "j"), module.fcntl.flock

    def replaced_before(*arguments):
        monkeypatch.setattr(module.fcntl, "flock", lock)
        first.replace(CHANGES)
        lock(*arguments)

    monkeypatch.setattr(module.fcntl, "flock", replaced_before)
    with pytest.raises(StateError, match="in use"):
        Journal(tmp_path / "j")
    first.close()


def test_replacing_keeps_the_state_alone_and_the_lock(tmp_path):
    journal = Journal(tmp_path / "j")
    list(journal.read())
    journal.write([{"n": number} for number in range(3000)])
    journal.replace({"n": number} for number in range(2998, 5000))
    with pytest.raises(StateError):
        Journal(tmp_path / "j")
    journal.write([{"n": 5000}])
    journal.close()
    assert read(tmp_path / "j") == [{"n": number} for number in range(2998, 5001)]
    assert [path.name for path in tmp_path.iterdir()] == ["j"]


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    from astra.scheduler import journal as module

    journal = Journal(tmp_path / "j")
    list(journal.read())
    journal.write(CHANGES[:1])

    def write_half(descriptor, data):
        module.os.write(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(module, "_write_all", write_half)
        with pytest.raises(StateError, match="No space left"):
            journal.write(CHANGES[1:])
    journal.write(CHANGES[1:])
    journal.close()
    assert read(tmp_path / "j") == CHANGES


@pytest.mark.parametrize(("sync", "n_synced"), [("never", 0), ("always", 2)])
def test_when_it_is_forced_to_the_disk(tmp_path, monkeypatch, sync, n_synced):
    from astra.scheduler import journal as module

    synced = []
    monkeypatch.setattr(module.os, "fdatasync", synced.append)
    journal = Journal(tmp_path / "j", sync)
    list(journal.read())
    journal.write(CHANGES)
    assert len(synced) == n_synced
    journal.close()
