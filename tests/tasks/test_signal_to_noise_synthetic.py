import luigi
import pytest
from sqlalchemy import text

from astra.database.engine import reading
from astra.spectra.flags import SpectrumFlag
from astra.tasks.spectra.signal_to_noise import SignalToNoise
from tests.products.synthetic_spectra import write_ap_star, write_ap_visit, write_spec


@pytest.fixture
def batch(tmp_path):
    write_ap_visit(tmp_path / "visit.fits", n_pixels=2048, snr=50.0)
    write_ap_star(tmp_path / "star.fits", n_visits=2, snr=40.0)
    write_spec(tmp_path / "spec.fits", snr=20.0)
    whole = write_ap_visit(tmp_path / "cut.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: len(whole) // 2])
    products = ("apVisit", "apStar", "specLite", "apVisit")
    return products, tuple(str(tmp_path / f"{name}.fits") for name in ("visit", "star", "spec", "cut"))


def query(url, statement):
    with reading(url) as connection:
        return [dict(row) for row in connection.execute(text(statement)).mappings()]


def test_ratios_are_those_of_the_simulation_on_both_databases(batch, any_database_url, monkeypatch):
    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    task = SignalToNoise(product=batch[0], path=batch[1])
    assert not luigi.build([task], local_scheduler=True, log_level="WARNING", no_lock=True)

    found = query(any_database_url, "SELECT * FROM signal_to_noise ORDER BY path, row_index")
    [unread] = [row for row in found if row["flags"] & SpectrumFlag.READ_FAILED]
    assert (unread["path"], unread["kind"], unread["snr"]) == (batch[1][3], "", None)
    found.remove(unread)
    assert [(row["kind"], row["row_index"]) for row in found] == [
        *[("coadd", 0)],
        *[("coadd", 0), ("coadd_global", 1), ("visit", 2), ("visit", 3)],
        *[("visit", 0)],
    ]
    for row, expected in zip(found, [20.0, *[40.0] * 4, 50.0], strict=True):
        assert row["snr"] == pytest.approx(expected, rel=0.01)
        if row["product"] != "spec":
            chips = [row["snr_blue"], row["snr_green"], row["snr_red"]]
            assert chips == pytest.approx([expected] * 3, rel=0.01)

    [failed] = query(
        any_database_url,
        "SELECT error_class, message FROM task_attempt JOIN task ON task.pk = task_pk"
        " WHERE task_attempt.status_code = 30 AND batch_size IS NULL",
    )
    assert failed["error_class"] == "FormatError"
    assert batch[1][3] in failed["message"]


def test_path_names_the_file_of_its_member_when_a_product_has_no_reader(tmp_path, astra_root):
    path = str(write_spec(tmp_path / "spec.fits"))
    task = SignalToNoise(product=("lvmFrame", "spec"), path=(path, path))
    assert not luigi.build([task], local_scheduler=True, log_level="WARNING", no_lock=True)
    url = f"sqlite:///{astra_root / 'astra.db'}"
    [failed] = query(url, "SELECT message FROM task_attempt WHERE error_class = 'ConfigError'")
    assert "no reader for product 'lvmFrame'" in failed["message"]
    assert len(query(url, "SELECT * FROM signal_to_noise WHERE flags = 0")) == 1
    assert len(query(url, "SELECT * FROM signal_to_noise")) == 2
