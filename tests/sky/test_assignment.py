import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from astra.sky.assignment import assign


def run(row, column, cost, alone):
    arguments = np.asarray(row, np.int64), np.asarray(column, np.int64), np.asarray(cost, float)
    return assign(*arguments, np.asarray(alone, float))


def total(chosen, column, cost, alone):
    """Cost of an assignment, after a check that it is one."""
    taken = np.asarray(column)[chosen[chosen >= 0]]
    assert len(set(taken.tolist())) == len(taken)
    return np.asarray(cost)[chosen[chosen >= 0]].sum() + np.asarray(alone)[chosen < 0].sum()


def scipy_total(row, column, cost, alone):
    """The least cost by scipy's solver, with a private column for each row."""
    n_rows, n_columns = len(alone), int(max(column, default=-1)) + 1
    offset = min([*cost, *alone]) - 1.0
    weights = np.concatenate([cost, alone]) - offset
    places = np.concatenate([row, np.arange(n_rows)]), np.concatenate([column, n_columns + np.arange(n_rows)])
    graph = csr_array((weights, places), shape=(n_rows, n_columns + n_rows))
    rows, columns = min_weight_full_bipartite_matching(graph)
    return graph.toarray()[rows, columns].sum() + n_rows * offset


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.floats(-1, 1)), min_size=1, max_size=9))
def test_total_cost_is_the_least_of_all_ways(triples):
    cost = {(i, j): c for i, j, c in triples}
    pairs, alone = sorted(cost), [0.3, 1.1, -0.2, 0.5]
    row, column = [i for i, _ in pairs], [j for _, j in pairs]
    values = [cost[pair] for pair in pairs]
    best = min(
        sum(alone[i] if j is None else cost[i, j] for i, j in enumerate(way))
        for way in itertools.product([None, 0, 1, 2, 3], repeat=4)
        if all(j is None or (i, j) in cost for i, j in enumerate(way))
        and len([j for j in way if j is not None]) == len({j for j in way if j is not None})
    )
    assert total(run(row, column, values, alone), column, values, alone) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_total_cost_is_that_of_scipy_on_crowded_graphs(seed):
    rng = np.random.default_rng(seed)
    n_rows, n_columns = rng.integers(5, 60, 2)
    row, column = np.nonzero(rng.uniform(size=(n_rows, n_columns)) < rng.uniform(0.05, 0.6))
    cost, alone = rng.normal(0, 3, len(row)), rng.normal(1, 2, n_rows)
    chosen = run(row, column, cost, alone)
    assert total(chosen, column, cost, alone) == pytest.approx(
        scipy_total(row, column, cost, alone), abs=1e-9
    )


def test_costs_that_tie_come_to_an_end():
    row, column = np.nonzero(np.ones((30, 25)))
    cost = np.full(len(row), 0.1) * np.round(np.random.default_rng(0).uniform(1, 3, len(row)))
    chosen = run(row, column, cost, np.full(30, 1.0))
    assert (chosen >= 0).sum() == 25
    assert total(chosen, column, cost, np.full(30, 1.0)) == pytest.approx(
        scipy_total(row, column, cost, np.full(30, 1.0)), abs=1e-9
    )


def test_a_row_loses_its_cheapest_only_where_the_whole_gains():
    assert run([0, 0, 1], [0, 1, 0], [0.1, 0.3, 0.2], [9, 9]).tolist() == [1, 2]


def test_of_two_rows_at_one_column_the_cheaper_wins():
    assert run([0, 1], [5, 5], [0.4, 0.2], [9.0, 9.0]).tolist() == [-1, 1]


def test_what_is_elsewhere_does_not_matter():
    rng = np.random.default_rng(4)
    row, column = np.nonzero(rng.uniform(size=(12, 12)) < 0.3)
    cost = np.round(rng.uniform(0, 2, len(row)))
    alone = np.full(12, 3.0)
    near = run(row, column, cost, alone)
    both = run(
        np.append(row, row + 12), np.append(column, column + 5000), np.append(cost, 9 * cost), [3.0] * 24
    )
    assert both[:12].tolist() == near.tolist()


def test_nothing_to_assign_is_an_empty_result():
    assert run([], [], [], []).shape == (0,)
    assert run([], [], [], [1.0]).tolist() == [-1]


def test_costs_that_are_not_finite_and_pairs_out_of_order_are_refused():
    with pytest.raises(ValueError, match="finite"):
        run([0], [0], [np.nan], [1.0])
    with pytest.raises(ValueError, match="ordered"):
        run([1, 0], [0, 0], [1.0, 1.0], [1.0, 1.0])
