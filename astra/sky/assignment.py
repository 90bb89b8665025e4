"""Assignment of the least total cost between two lists, of which only few pairs are possible.

Every row may also stay alone, at a cost of its own. The rows are added one at a time, each along the shortest
augmenting path (Jonker & Volgenant 1987, Computing 38, 325), which ends at the first column that is free or
at a row that had better stay alone; the search so never leaves the rows and columns that are in contest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astra.compiled import compiled, part

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class _Graph(NamedTuple):
    """What may be paired: the pairs of row r are those from starts[r] on, before starts[r + 1]."""

    starts: IntArray
    row: IntArray
    column: IntArray
    cost: FloatArray
    cost_alone: FloatArray


class _State(NamedTuple):
    """What has been paired, the dual variables, and the marks of a search, which are wiped after it."""

    chosen: IntArray  # pair of each row
    owner: IntArray  # row of each column
    value: FloatArray  # dual of each row
    price: FloatArray  # dual of each column, never positive
    distance: FloatArray  # of each column from the row that is added
    via: IntArray  # pair by which a column was reached
    closed: NDArray[np.bool_]
    open_columns: IntArray  # that were reached, in that order
    closed_columns: IntArray
    tree: IntArray  # rows that were reached
    tree_distance: FloatArray

    @classmethod
    def begin(cls, n_rows: int, n_columns: int) -> _State:
        """State before the first row."""
        return cls(
            np.full(n_rows, -1, np.int64),
            np.full(n_columns, -1, np.int64),
            np.zeros(n_rows),
            np.zeros(n_columns),
            np.full(n_columns, np.inf),
            np.full(n_columns, -1, np.int64),
            np.zeros(n_columns, np.bool_),
            np.empty(n_columns, np.int64),
            np.empty(n_columns, np.int64),
            np.empty(n_rows, np.int64),
            np.empty(n_rows),
        )


def assign(row: IntArray, column: IntArray, cost: FloatArray, cost_alone: FloatArray) -> IntArray:
    """Choose pairs so that no row and no column is used twice and the total cost is least.

    Parameters
    ----------
    row, column : int64 ndarray, shape (n,)
        The possible pairs, each once, ordered by row.
    cost : float64 ndarray, shape (n,)
        Cost of each pair, finite, of any sign.
    cost_alone : float64 ndarray, shape (n_rows,)
        Cost of each row that gets no column, finite.

    Returns
    -------
    chosen : int64 ndarray, shape (n_rows,)
        Number of each row's pair; -1 for those that stay alone. Of equal totals the same one is always
        taken, whatever is elsewhere.

    Raises
    ------
    ValueError
        If the pairs are not ordered, or a cost is not finite.
    """
    if (np.diff(row) < 0).any():
        raise ValueError("the pairs to assign must be ordered by row")
    if not (np.isfinite(cost).all() and np.isfinite(cost_alone).all()):
        raise ValueError("the costs of an assignment must be finite")
    starts = np.zeros(len(cost_alone) + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=len(cost_alone)), out=starts[1:])
    n_columns = int(column.max(initial=-1)) + 1
    if n_columns > 4 * len(column):  # the columns are those of a large table
        _, column = np.unique(column, return_inverse=True)
        n_columns = int(column.max(initial=-1)) + 1
    graph = _Graph(starts, row, column.astype(np.int64), cost, cost_alone)
    state = _State.begin(len(cost_alone), n_columns)
    _assign_all(graph, np.bincount(column, minlength=n_columns), state)
    return state.chosen


@compiled
def _assign_all(graph: _Graph, wanted_by: IntArray, state: _State) -> None:  # pragma: no cover
    """Add the rows one at a time; ``wanted_by`` is how many want each column."""
    for row in range(len(graph.cost_alone)):
        if not _take_uncontested(row, graph, wanted_by, state.chosen):
            _augment(row, graph, state)


@part
def _take_uncontested(
    row: int, graph: _Graph, wanted_by: IntArray, chosen: IntArray
) -> bool:  # pragma: no cover
    """Give a row the cheapest of its columns if no other row wants any of them; say whether that is so."""
    best, least = -1, graph.cost_alone[row]
    for pair in range(graph.starts[row], graph.starts[row + 1]):
        if wanted_by[graph.column[pair]] > 1:
            return False
        if graph.cost[pair] < least:
            best, least = pair, graph.cost[pair]
    chosen[row] = best
    return True


@part
def _augment(first: int, graph: _Graph, state: _State) -> None:  # pragma: no cover
    """Add one row: grow the tree of shortest paths from it to the nearest end, and shift along the path."""
    n_open, n_closed, n_rows = 0, 0, 1
    state.tree[0], state.tree_distance[0] = first, 0.0
    row, reached = first, 0.0
    best_end, end_row, end_column = np.inf, first, -1
    while row >= 0:
        alone = reached + graph.cost_alone[row] - state.value[row]
        if alone < best_end:
            best_end, end_row, end_column = alone, row, -1
        n_open = _relax(row, reached, graph, state, n_open)
        place = _nearest(state.open_columns, n_open, state.distance)
        if place < 0 or state.distance[state.open_columns[place]] >= best_end:
            break
        target = int(state.open_columns[place])
        n_open = _remove(state.open_columns, place, n_open)
        state.closed_columns[n_closed] = target
        n_closed += 1
        state.closed[target] = True
        reached, row = state.distance[target], state.owner[target]
        if row < 0:
            best_end, end_column = reached, target
        else:
            state.tree[n_rows], state.tree_distance[n_rows] = row, reached
            n_rows += 1
    for number in range(n_rows):
        state.value[state.tree[number]] += best_end - state.tree_distance[number]
    for number in range(n_closed):
        target = state.closed_columns[number]
        state.price[target] += state.distance[target] - best_end
        state.closed[target] = False
        state.distance[target] = np.inf
    for number in range(n_open):
        state.distance[state.open_columns[number]] = np.inf
    _shift(first, graph, state, end_row, end_column)


@part
def _relax(row: int, reached: float, graph: _Graph, state: _State, n_open: int) -> int:  # pragma: no cover
    """Shorten the paths to the columns of a row; return how many columns are open.

    Those that are closed could be nearer by rounding alone.
    """
    for pair in range(graph.starts[row], graph.starts[row + 1]):
        target = graph.column[pair]
        path = reached + graph.cost[pair] - state.value[row] - state.price[target]
        if path < state.distance[target] and not state.closed[target]:
            if np.isinf(state.distance[target]):
                state.open_columns[n_open] = target
                n_open += 1
            state.distance[target], state.via[target] = path, pair
    return n_open


@part
def _nearest(open_columns: IntArray, n_open: int, distance: FloatArray) -> int:  # pragma: no cover
    """Place of the nearest of some columns, the first of equal ones; -1 if there are none."""
    place = -1
    for number in range(n_open):
        if place < 0 or distance[open_columns[number]] < distance[open_columns[place]]:
            place = number
    return place


@part
def _remove(columns: IntArray, place: int, n: int) -> int:  # pragma: no cover
    """Remove one of n columns; the others stay in order, which decides between equal ones."""
    for number in range(place, n - 1):
        columns[number] = columns[number + 1]
    return n - 1


@part
def _shift(
    first: int, graph: _Graph, state: _State, end_row: int, end_column: int
) -> None:  # pragma: no cover
    """Give the columns along a path to the rows that reached them."""
    target = end_column
    if target < 0 and state.chosen[end_row] >= 0:  # this row now stays alone, and its column passes on
        target = graph.column[state.chosen[end_row]]
        state.chosen[end_row] = -1
    while target >= 0:
        pair = state.via[target]
        row = graph.row[pair]
        before = -1 if state.chosen[row] < 0 else graph.column[state.chosen[row]]
        state.chosen[row], state.owner[target] = pair, row
        target = -1 if row == first else before
