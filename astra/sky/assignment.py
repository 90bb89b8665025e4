"""Assignment of the least total cost between two lists, of which only few pairs are possible.

Every row may also stay alone, at a cost of its own. The rows are added one at a time, each along the shortest
augmenting path (Jonker & Volgenant 1987, Computing 38, 325), which ends at the first column that is free or
at a row that had better stay alone; the search so never leaves the rows and columns that are in contest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from astra.compiled import part

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
    return np.asarray(_assign_all(graph, n_columns))


@njit(cache=True)
def _assign_all(graph: _Graph, n_columns: int) -> IntArray:  # pragma: no cover
    """Add the rows one at a time."""
    n_rows = len(graph.cost_alone)
    state = _State(
        np.full(n_rows, -1, np.int64),
        np.full(n_columns, -1, np.int64),
        np.zeros(n_rows),
        np.zeros(n_columns),
        np.full(n_columns, np.inf),
        np.full(n_columns, -1, np.int64),
        np.zeros(n_columns, np.bool_),
    )
    wanted_by = np.zeros(n_columns, np.int32)
    for target in graph.column:
        wanted_by[target] += 1
    for row in range(n_rows):
        if not _take_uncontested(row, graph, wanted_by, state.chosen):
            _augment(row, graph, state)
    return state.chosen


@part
def _take_uncontested(
    row: int, graph: _Graph, wanted_by: NDArray[np.int32], chosen: IntArray
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
    open_columns = [0 for _ in range(0)]
    closed_columns = [0 for _ in range(0)]
    rows, row_distance = [first], [0.0]
    row, reached = first, 0.0
    best_end, end_row, end_column = np.inf, first, -1
    while row >= 0:
        alone = reached + graph.cost_alone[row] - state.value[row]
        if alone < best_end:
            best_end, end_row, end_column = alone, row, -1
        _relax(row, reached, graph, state, open_columns)
        place = _nearest(open_columns, state.distance)
        if place < 0 or state.distance[open_columns[place]] >= best_end:
            break
        target = open_columns.pop(place)
        closed_columns.append(target)
        state.closed[target] = True
        reached, row = state.distance[target], state.owner[target]
        if row < 0:
            best_end, end_column = reached, target
        else:
            rows.append(row)
            row_distance.append(reached)
    for number in range(len(rows)):
        state.value[rows[number]] += best_end - row_distance[number]
    for target in closed_columns:
        state.price[target] += state.distance[target] - best_end
        state.closed[target] = False
        state.distance[target] = np.inf
    for target in open_columns:
        state.distance[target] = np.inf
    _shift(first, graph, state, end_row, end_column)


@part
def _relax(
    row: int, reached: float, graph: _Graph, state: _State, open_columns: list[int]
) -> None:  # pragma: no cover
    """Shorten the paths to the columns of a row; those that are closed could be so by rounding alone."""
    for pair in range(graph.starts[row], graph.starts[row + 1]):
        target = graph.column[pair]
        path = reached + graph.cost[pair] - state.value[row] - state.price[target]
        if path < state.distance[target] and not state.closed[target]:
            if np.isinf(state.distance[target]):
                open_columns.append(target)
            state.distance[target], state.via[target] = path, pair


@part
def _nearest(open_columns: list[int], distance: FloatArray) -> int:  # pragma: no cover
    """Place of the nearest column in a list; -1 if it is empty."""
    place = -1
    for number in range(len(open_columns)):
        if place < 0 or distance[open_columns[number]] < distance[open_columns[place]]:
            place = number
    return place


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
