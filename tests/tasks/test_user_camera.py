"""A camera of the user's own, from luigi.cfg to the database."""

from tests.instruments.cameras import TWO_AMPLIFIERS, write_raw
from tests.tasks.night import rows


def test_a_camera_that_luigi_cfg_names_is_ingested(run_luigi, astra_root):
    (astra_root / "mycam.toml").write_text(TWO_AMPLIFIERS)
    (astra_root / "luigi.cfg").write_text("[astra]\ninstruments = mycam.toml\n")
    (astra_root / "raw").mkdir()
    for number in (12, 13):
        write_raw(astra_root / "raw" / f"t{number}.fits", SEQ=number)
    result = run_luigi("IngestRaws", "--instrument", "testcam", "--path", "raw")
    assert result.returncode == 0, result.stderr
    found = rows(astra_root, "SELECT exposure, band, day_obs, target_name FROM exposure ORDER BY exposure")
    assert found == [
        (2026112000012, "r", 20261120, "field 7"),
        (2026112000013, "r", 20261120, "field 7"),
    ]
    (astra_root / "mycam.toml").write_text(TWO_AMPLIFIERS.replace("[site]", "[sight]"))
    result = run_luigi("IngestRaws", "--instrument", "testcam", "--path", "raw/t12.fits")
    assert result.returncode == 30
    assert "mycam.toml: " in result.stderr
    assert "sight is not a key of this table; 'site' is" in result.stderr
