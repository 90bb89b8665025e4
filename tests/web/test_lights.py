"""Lights and thresholds: each turns where its file says, and a wrong file is refused in a sentence."""

import pytest

from astra.errors import ConfigError
from astra.web.lights import load_thresholds, make_light, worst


@pytest.fixture
def own(tmp_path):
    def write(text):
        path = tmp_path / "own.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_light_turns_at_its_thresholds():
    seeing, depth = (load_thresholds()[name] for name in ("seeing", "mag_lim"))
    assert [seeing.level(v) for v in (1.8, 1.81, 2.5, 2.51)] == ["ok", "warn", "warn", "bad"]
    assert [depth.level(v) for v in (22.0, 21.9, 20.0, 19.9)] == ["ok", "warn", "warn", "bad"]
    assert [seeing.level(v) for v in (None, float("nan"))] == ["unknown", "unknown"]
    assert make_light(seeing, 3.0).words == "Seeing: bad"
    assert depth.rule() == "good ≥ 22, bad < 20"


def test_the_worst_light_counts():
    assert worst(["ok", "bad", "unknown"]) == "bad"
    assert worst(["unknown", "ok"]) == "ok"
    assert worst([]) == "unknown"


def test_a_file_of_ones_own_changes_what_it_names(own):
    path = own("[seeing]\nwarn = 1.0\n[mag_lim.band.u]\nwarn = 21.0\nbad = 19.0\n")
    changed, shipped = load_thresholds(path), load_thresholds()
    assert changed["seeing"].warn == 1.0
    assert changed["seeing"].bad == shipped["seeing"].bad
    assert changed["latency"] == shipped["latency"]
    assert [changed["mag_lim"].level(21.5, band) for band in ("u", "r", None)] == ["ok", "warn", "warn"]
    assert changed["mag_lim"].rule("u") == "good ≥ 21, bad < 19"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[seeeing]\nwarn = 1.0\n", "'seeeing', which is no figure of a night; it must be one of seeing"),
        ("[seeing]\nwarm = 1.0\n", "the key 'warm', which is not known; it must be one of title, unit"),
        ("[seeing]\nwarn = 'x'\n", "seeing.warn of .* must be a number, found 'x'"),
        ("[seeing]\nwarn = true\n", "must be a number, found True"),
        ("[seeing]\nwarn = inf\n", "must be a number, found inf"),
        ("[seeing]\nunit = 1\n", "must be text, found 1"),
        ("[seeing]\ngood = 'left'\n", "good of .* must be low or high, found 'left'"),
        ("[seeing]\nwarn = 5.0\n", r"bad \(2.5\) must be above warn \(5\) \[arcsec\]"),
        ("[mag_lim]\nbad = 25.0\n", r"bad \(25\) must be below warn"),
        ("[seeing.band.u]\nwarn = 5.0\n", "must be above warn"),
        (
            "[seeing.band.u]\ntitle = 'x'\n",
            "the key 'title', which is not known; it must be one of warn, bad",
        ),
        ("seeing = 1.0\n", "must be a table with warn and bad, found 1.0"),
        ("[seeing]\nband = 1\n", "must be tables by band, found 1"),
        ("[seeing.band]\nu = 1\n", "must be a table, found 1"),
        ("[seeing\n", "are not TOML"),
        (b"\xff", "must be UTF-8 text"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(own, text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load_thresholds(own(text))
    assert "\n" not in str(caught.value)
    assert "own.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_thresholds(tmp_path / "none.toml")
