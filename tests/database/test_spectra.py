import datetime as dt

import pytest
from sqlalchemy import select

from astra.database.engine import reading, transaction
from astra.database.spectra import signal_to_noise_table, write_signal_to_noise
from astra.database.state import TaskRecord, create_tasks, insert_run
from astra.errors import TaskError

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def row(index, snr):
    ratios = dict.fromkeys(("snr_drp", "snr_blue", "snr_green", "snr_red", "header_snr"), snr)
    counts = {"n_pixels": 2**31 - 1, "n_good": 0, "file_size": 2**40, "file_modified_ns": 2**60 + 1}
    return {
        "row_index": index,
        "product": "spec",
        "path": "p",
        "kind": "coadd",
        "flags": 0,
        "snr": 10.0,
        **ratios,
        **counts,
    }


def stored(url):
    columns = signal_to_noise_table.c
    query = select(columns.task_pk, columns.row_index, columns.snr_drp).order_by(
        columns.task_pk, columns.row_index
    )
    with reading(url) as connection:
        return [tuple(found)[1:] for found in connection.execute(query)]


@pytest.fixture
def url_with_tasks(any_database_url):
    invocation = {"command": "", "host": "", "pid": 1, "version": "0", "packages": {}, "configuration": {}}
    with transaction(any_database_url) as connection:
        run_pk = insert_run(connection, {**invocation, "started": NOW})
        records = [TaskRecord(f"S_{i}", "S", "m", {}, "0") for i in range(1200)]
        create_tasks(connection, records, run_pk, NOW)
    return any_database_url


def test_results_of_many_tasks_are_written_and_replaced(url_with_tasks):
    with transaction(url_with_tasks) as connection:
        write_signal_to_noise(connection, {f"S_{i}": [row(0, float(i)), row(1, None)] for i in range(1200)})
    assert stored(url_with_tasks)[:4] == [(0, 0.0), (1, None), (0, 1.0), (1, None)]
    assert len(stored(url_with_tasks)) == 2400
    with transaction(url_with_tasks) as connection:
        write_signal_to_noise(connection, {"S_0": [row(0, 5.0)], "S_1": []})
    assert stored(url_with_tasks)[:2] == [(0, 5.0), (0, 2.0)]
    assert len(stored(url_with_tasks)) == 2397


def test_result_without_a_task_is_refused(url_with_tasks):
    with (
        pytest.raises(TaskError, match="1 tasks have results, but no row of state; the first: S_x"),
        transaction(url_with_tasks) as connection,
    ):
        write_signal_to_noise(connection, {"S_0": [row(0, 5.0)], "S_x": []})
    assert stored(url_with_tasks) == []
