from astra.scheduler.pages import MAX_GRAPH_EDGES, MAX_GRAPH_NODES, MAX_SHOWN_TASKS, PagedScheduler


def wide(n_leaves, n_roots=1):
    scheduler = PagedScheduler()
    scheduler.limit_pages()
    leaves = [f"leaf{number}" for number in range(n_leaves)]
    reports = [{"task_id": f"root{number}", "family": "R", "deps": leaves} for number in range(n_roots)]
    scheduler.add_tasks("w", [*reports, *({"task_id": leaf, "family": "L"} for leaf in leaves)])
    return scheduler


def test_a_small_graph_is_whole():
    graph = wide(5).dep_graph("root0")
    assert len(graph) == 6
    assert len(graph["root0"]["deps"]) == 5
    inverse = wide(5, 2).inverse_dep_graph("leaf3")
    assert {name: len(node["deps"]) for name, node in inverse.items()} == {"leaf3": 2, "root0": 0, "root1": 0}


def test_a_large_graph_is_cut():
    scheduler = wide(5000, 8)
    for graph in (scheduler.dep_graph("root0"), scheduler.graph(), scheduler.inverse_dep_graph("leaf1")):
        assert 0 < len(graph) <= MAX_GRAPH_NODES
        assert sum(len(node["deps"]) for node in graph.values()) <= MAX_GRAPH_EDGES + 5000


def test_a_graph_of_many_edges_shows_those_between_what_it_shows():
    scheduler = wide(3000, 10)
    scheduler.add_task(worker="w", task_id="top", family="T", deps=[f"root{n}" for n in range(10)])
    graph = scheduler.dep_graph("top")
    assert all(dep in graph for node in graph.values() for dep in node["deps"])


def test_long_lists_are_counted():
    scheduler = wide(MAX_SHOWN_TASKS + 10)
    assert scheduler.task_list("PENDING", "") == {"num_tasks": MAX_SHOWN_TASKS + 11}
    assert scheduler.task_list("PENDING", "", limit=False).keys() >= {"root0"}
    assert len(scheduler.task_search("leaf")["PENDING"]) == MAX_SHOWN_TASKS
    assert list(scheduler.task_list("PENDING", "", search="R()")) == ["root0"]


def test_workers_show_what_waits_for_them():
    scheduler = wide(4)
    scheduler.add_task(worker="v", task_id="leaf0", family="L")
    scheduler.get_work(worker="v")
    loads = {
        w["name"]: (w["num_running"], w["num_pending"], w["num_uniques"]) for w in scheduler.worker_list()
    }
    assert loads == {"w": (0, 4, 4), "v": (1, 0, 0)}
