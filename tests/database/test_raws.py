"""Writing exposures and raws, on both databases: twice, contradicting, at once."""

import dataclasses
import datetime as dt
import threading

from sqlalchemy import event, select

from astra.database.engine import get_engine, reading, transaction
from astra.database.raws import Ingested, RawFile, ingest_files, raw_stamps
from astra.database.state import product_table
from astra.database.survey import collection_table, exposure_table, raw_table
from tests.sky.mosaic import snap

NOW = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def raw_file(path, record, detectors=(0, 1, 7), content="c", **columns):
    """What a file says that holds some detectors of an exposure."""
    row = {**dataclasses.asdict(record), "observation_type": "science", "dark_time": None, **columns}
    key = {"instrument": record.instrument, "exposure": record.exposure}
    frames = [(row, {**key, "detector": detector, "region": b"r"}) for detector in detectors]
    return RawFile(path, 10, 20, content, frames)


def ingest(url, *files, **kwargs):
    with transaction(url) as connection:
        return ingest_files(connection, files, NOW, **kwargs)


def column(url, table, name):
    with reading(url) as connection:
        return sorted(connection.execute(select(table.c[name])).scalars())


def test_a_file_with_several_detectors_is_written_once(any_database_url):
    url, file = any_database_url, raw_file("a.fits", snap(1))
    assert ingest(url, file) == Ingested(n_raws=3, n_written=3)
    statements = []

    def listen(_connection, _cursor, statement, *_others):
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            statements.append(statement)

    event.listen(get_engine(url), "before_cursor_execute", listen)
    assert ingest(url, file) == Ingested(n_raws=3, n_written=0)
    assert statements == []
    assert column(url, raw_table, "detector") == [0, 1, 7]
    assert column(url, collection_table, "collection") == ["raw/all"] * 3
    assert column(url, product_table, "path") == ["a.fits"]
    with reading(url) as connection:
        [row] = connection.execute(select(exposure_table))
        assert raw_stamps(connection, ["a.fits", "b.fits"]).keys() == {"a.fits"}
    assert dict(row._mapping) == file.frames[0][0]


def test_what_most_files_say_is_believed_and_the_others_are_named(any_database_url):
    lie = raw_file("a.fits", snap(1, band="g"), [0], "a")
    rest = [raw_file(f"{n}.fits", snap(1), [n], str(n)) for n in (1, 7)]
    result = ingest(any_database_url, lie, *rest)
    assert (result.n_raws, list(result.refused)) == (2, ["a.fits"])
    assert (
        "band of exposure 2022040500001 of mosaic is 'g', but for other detectors of it that is 'r'"
        in (result.refused["a.fits"])
    )
    assert column(any_database_url, exposure_table, "band") == ["r"]
    # Against what was ingested and lies there, or in an archive, a majority does not help.
    more = [raw_file(f"{n}0.fits", snap(1, band="g"), [n], f"{n}0") for n in (2, 3, 4)]
    assert len(ingest(any_database_url, *more).refused) == 3
    assert column(any_database_url, exposure_table, "band") == ["r"]


def test_other_content_under_one_id_is_refused_while_the_first_lies_there(any_database_url, tmp_path):
    first = str(tmp_path / "a.fits")
    (tmp_path / "a.fits").write_bytes(b"0123456789")
    ingest(any_database_url, raw_file(first, snap(1), [0]))
    result = ingest(any_database_url, raw_file("b.fits", snap(1), [0, 1], "other"))
    assert "detector 0 of mosaic, which is ingested already from" in result.refused["b.fits"]
    assert column(any_database_url, raw_table, "detector") == [0]
    (tmp_path / "a.fits").unlink()
    assert ingest(any_database_url, raw_file("b.fits", snap(1), [0, 1], "other")).n_written == 2
    assert column(any_database_url, raw_table, "path") == ["b.fits"] * 2


def test_of_two_new_files_with_one_id_the_first_is_taken(any_database_url):
    files = [raw_file("a.fits", snap(1)), raw_file("b.fits", snap(1), content="other")]
    assert list(ingest(any_database_url, *files).refused) == ["b.fits"]
    twice = raw_file("c.fits", snap(2), (1, 1))
    assert (
        "exposure 2022040500002 detector 1 of mosaic twice"
        in ingest(any_database_url, twice).refused["c.fits"]
    )
    assert column(any_database_url, exposure_table, "seq_num") == [1]


def test_a_file_with_another_exposure_gives_up_the_first(any_database_url):
    ingest(any_database_url, raw_file("a.fits", snap(1)))
    ingest(any_database_url, raw_file("a.fits", snap(2), [0], "other"))
    assert column(any_database_url, raw_table, "exposure") == [snap(2).exposure]
    assert column(any_database_url, collection_table, "exposure") == [snap(2).exposure]


def test_what_a_header_leaves_open_is_filled_by_others(any_database_url):
    silent = raw_file("a.fits", snap(1, target_name="", azimuth=None), [0], "a")
    ingest(any_database_url, silent)
    assert column(any_database_url, exposure_table, "target_name") == [""]
    assert ingest(any_database_url, raw_file("b.fits", snap(1), [1], "b")).refused == {}
    assert column(any_database_url, exposure_table, "target_name") == ["field"]
    assert ingest(any_database_url, raw_file("c.fits", snap(1, target_name=""), [7], "c")).refused == {}
    assert column(any_database_url, exposure_table, "azimuth") == [350.0]


def test_nothing_to_ingest_is_no_error(any_database_url):
    assert ingest(any_database_url) == Ingested()


def test_detectors_that_come_at_once_agree_or_are_refused(any_database_url):
    bands = "rrgrgrrg"
    get_engine(any_database_url)  # one for all threads
    barrier, results, errors = threading.Barrier(len(bands)), [], []

    def work(number, band):
        barrier.wait()
        try:
            file = raw_file(f"{number}.fits", snap(1, band=band), [number], str(number))
            results.append(ingest(any_database_url, file))
        except Exception as exc:  # noqa: BLE001  # told by the test
            errors.append(exc)

    threads = [threading.Thread(target=work, args=item) for item in enumerate(bands)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    [band] = column(any_database_url, exposure_table, "band")
    assert column(any_database_url, raw_table, "detector") == [n for n, b in enumerate(bands) if b == band]
    assert sum(len(result.refused) for result in results) == len(bands) - bands.count(band)
