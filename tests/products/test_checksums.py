import hashlib
from email.message import Message

import pytest

from astra.errors import DataError, FormatError
from astra.products.checksums import digests_in, read_checksums, require_checksum, stamp, with_checksum


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"content")
    return tmp_path / "a.fits"


def test_checksum_of_a_state_of_a_file_is_known(file):
    found = with_checksum(stamp(file))
    assert found.checksum == hashlib.sha256(b"content").hexdigest()
    assert stamp(file.parent) is None
    assert stamp(file.parent / "none") is None
    file.write_bytes(b"other content")
    assert with_checksum(found).checksum == found.checksum  # of the state that the stamp is of
    assert with_checksum(stamp(file)).checksum != found.checksum


def test_kind_of_a_checksum_is_told_by_its_length(file):
    for name in ("md5", "sha1", "sha256", "sha512"):
        require_checksum(file, hashlib.new(name, b"content").hexdigest().upper() + "\n", name="it")
        with pytest.raises(DataError, match=f"it must have the {name} 0+, but has [0-9a-f]+$"):
            require_checksum(file, "0" * len(hashlib.new(name).hexdigest()), name="it")
    for wrong in ("", "abc", "g" * 32):
        with pytest.raises(FormatError, match="must be an MD5, SHA-1, SHA-256 or SHA-512"):
            require_checksum(file, wrong, name="it")


def test_list_of_checksums_is_read(tmp_path):
    path = tmp_path / "list.sha1sum"
    path.write_text(f"# of the survey\n{'a' * 40}  ./dr17/a b.fits\n\n{'B' * 40} *dr17/c.fits\n")
    assert read_checksums(path) == {"dr17/a b.fits": "a" * 40, "dr17/c.fits": "b" * 40}
    path.write_text("no list\n")
    with pytest.raises(FormatError, match=r"line 1 of .*list\.sha1sum must be a checksum and a file"):
        read_checksums(path)
    with pytest.raises(FormatError, match="cannot be read as a list of checksums"):
        read_checksums(tmp_path / "none")


def test_checksums_of_a_header_that_cannot_be_read_are_left_out():
    headers = Message()
    headers["Digest"] = "sha-256=bm8=, md5=mgNkuembtIDdJeHwKEyFVQ==, unixsum=30637"
    headers["Content-MD5"] = "***"
    assert digests_in(headers) == {hashlib.md5(b"content", usedforsecurity=False).hexdigest()}
