"""State of tasks that came together from the central scheduler is that of tasks that ran one by one."""

import sqlite3

import pytest

ROWS = {
    "tasks": "SELECT family, parameters, status_code, completed IS NULL, duration IS NULL FROM task",
    "attempts": "SELECT t.parameters, a.status_code, a.error_class, a.message, a.ended IS NULL, a.pid > 0 "
    "FROM task_attempt a JOIN task t ON t.pk = a.task_pk",
    "dependencies": "SELECT t.parameters, r.parameters FROM task_dependency d "
    "JOIN task t ON t.pk = d.task_pk JOIN task r ON r.pk = d.required_task_pk",
    "products": "SELECT t.parameters, p.kind, p.size, p.checksum FROM data_product p "
    "JOIN task t ON t.pk = p.task_pk",
    "inputs": "SELECT t.parameters, f.size, f.checksum FROM task_input i "
    "JOIN task t ON t.pk = i.task_pk JOIN file_version f ON f.pk = i.file_pk",
    "figures": "SELECT t.parameters, m.key, m.value FROM task_metadata m JOIN task t ON t.pk = m.task_pk",
}


def rows(root):
    with sqlite3.connect(root / "astra.db") as database:
        return {name: sorted(map(repr, database.execute(query))) for name, query in ROWS.items()}


@pytest.fixture
def both(central, run_luigi, tmp_path):
    """Run in one root by the central scheduler, in another by Luigi's own worker and scheduler."""
    roots = {}
    for name, options in {"alone": [], "together": ["--scheduler-port", central.port]}.items():
        roots[name] = tmp_path / name
        roots[name].mkdir()
        result = run_luigi(
            "Stated",
            "--size",
            "30",
            *options,
            module="tests.scheduler.stated",
            local=not options,
            env={"ASTRA_ROOT": str(roots[name])},
        )
        assert result.returncode == 30, result.stderr[-3000:]
    return {name: rows(root) for name, root in roots.items()}


def test_rows_are_the_same(both):
    assert both["alone"]["tasks"]
    assert len(both["alone"]["dependencies"]) == 60
    for name in ROWS:
        assert both["together"][name] == both["alone"][name], name
