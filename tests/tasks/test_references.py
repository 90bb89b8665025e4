"""Large batches by reference: what travels is short, and what comes back is the same."""

import json

import luigi
import pytest

from astra.errors import MissingDataError
from astra.tasks.references import LARGE_BATCH
from tests.tasks.test_engine import build, rows
from tests.tasks.toy_tasks import Toy

SIZE = 5 * LARGE_BATCH


def large(size=SIZE, **common):
    return Toy(number=tuple(range(size)), name=tuple(f"n{i}" for i in range(size)), **common)


def test_a_large_batch_travels_in_few_bytes_and_comes_back_equal(astra_root):
    task = large()
    texts = task.to_str_params()
    assert len(json.dumps(texts)) < 2000
    assert texts["number"].endswith(f":{SIZE}")
    luigi.task_register.Register.clear_instance_cache()
    again = Toy.from_str_params(texts)
    assert again is not task
    assert again.param_kwargs == task.param_kwargs
    assert again.task_id == task.task_id


def test_the_identity_does_not_depend_on_how_a_batch_travels(astra_root, monkeypatch):
    by_reference = large().task_id
    monkeypatch.setattr("astra.tasks.references.LARGE_BATCH", 10 * SIZE)
    luigi.task_register.Register.clear_instance_cache()
    task = large()
    assert "@batch" not in task.to_str_params()["number"]
    assert task.task_id == by_reference


def test_a_reference_is_taken_on_the_command_line(astra_root):
    texts = large().to_str_params()
    assert Toy(number=Toy.number.parse(texts["number"])).number == tuple(range(SIZE))


def test_a_batch_is_found_below_its_own_root(tmp_path):
    task = large(output_root=str(tmp_path / "own"))
    texts = task.to_str_params()
    assert (tmp_path / "own" / "astra.db").is_file()
    assert Toy.from_str_params(texts).number == task.number


def test_an_unknown_reference_is_one_clear_error(astra_root):
    texts = {**Toy(number=1).to_str_params(), "number": f"@batch:{'0' * 32}:7"}
    with pytest.raises(MissingDataError, match=r"@batch:0+:7' are not in database .*astra\.db"):
        Toy.from_str_params(texts)
    with pytest.raises(MissingDataError, match="@batch:nonsense"):
        Toy.number.parse("@batch:nonsense")


def test_no_row_or_log_holds_the_values(astra_root, run_luigi):
    numbers = json.dumps(list(range(1000, 1000 + SIZE)))
    result = run_luigi("Toy", "--number", numbers, module="tests.tasks.toy_tasks")
    assert result.returncode == 0, result.stderr
    assert "1234" not in result.stderr
    [(parameters,)] = rows(astra_root, "SELECT parameters FROM task WHERE batch_size > 1")
    assert len(parameters) < 2000
    [(command,)] = rows(astra_root, "SELECT command FROM run")
    assert len(command) < 3000


def test_equal_values_are_stored_once(astra_root):
    large().to_str_params()
    large(label="other").to_str_params()
    assert rows(astra_root, "SELECT count(*) FROM batch_parameters") == [(2,)]


def test_an_error_about_a_batch_does_not_print_its_values():
    with pytest.raises(luigi.parameter.UnknownParameterException) as caught:
        Toy(number=tuple(range(SIZE)), nonsense=1)
    assert f"<{SIZE} values>" in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_worker_of_another_process_loads_the_values(astra_root, run_luigi, luigid):
    numbers = json.dumps(list(range(SIZE)))
    arguments = ["--number", numbers, "--scheduler-port", str(luigid), "--workers", "2"]
    result = run_luigi("Toy", *arguments, module="tests.tasks.toy_tasks", local=False)
    assert result.returncode == 0, result.stderr


def test_values_are_kept_on_either_database(any_database_url, monkeypatch):
    monkeypatch.setenv("ASTRA_DATABASE_URL", any_database_url)
    task = large(SIZE + 1)
    texts = task.to_str_params()
    luigi.task_register.Register.clear_instance_cache()
    assert Toy.from_str_params(texts).param_kwargs == task.param_kwargs


def test_a_class_whose_values_are_lists_cannot_make_a_batch():
    from astra.tasks.base import AstraTask

    with pytest.raises(TypeError, match="ListParameter 'numbers' cannot make a batch"):
        type("Lists", (AstraTask,), {"numbers": luigi.ListParameter(batch_method=tuple)})


def test_one_state_run_of_a_large_batch(astra_root):
    assert build(large())
    assert rows(astra_root, "SELECT state, count(*) FROM task_state GROUP BY state") == [("done", SIZE + 1)]
