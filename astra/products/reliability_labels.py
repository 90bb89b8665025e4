"""Tables of people who have looked at detections: which are real, and what is known to vary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.products.parameter_tables import read_parameter_table


@dataclass(frozen=True)
class Labels:
    """What somebody says of detections.

    Parameters
    ----------
    ids : int64 ndarray, shape (n,)
        ``diaSourceId``.
    labels : int8 ndarray, shape (n,)
        1 real, 0 artefact.
    """

    ids: NDArray[np.int64]
    labels: NDArray[np.int8]


def read_labels(path: Path | str) -> Labels:
    """Read a table with the columns ``diaSourceId`` and ``label``; its format is told by its ending.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no such table, a label is neither 0 nor 1, or a detection has two of them.
    """
    ids = np.array([_integer(path, "diaSourceId", text) for text in _column(path, "diaSourceId")], np.int64)
    labels = np.array([_label(path, text) for text in _column(path, "label")], np.int8)
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        twice = unique[counts > 1][0]
        message = f"{path} has more than one label of diaSourceId {twice}; keep one"
        raise FormatError(message, path=str(path), diaSourceId=int(twice))
    return Labels(ids, labels)


def read_positions(path: Path | str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the columns ``ra`` and ``dec`` [deg] of a table.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no such table.
    """
    ra, dec = (
        np.array([_number(path, name, text) for text in _column(path, name)], float) for name in ("ra", "dec")
    )
    return ra, dec


def _column(path: Path | str, name: str) -> list[str | None]:
    columns = read_parameter_table(path)
    if name not in columns:
        found = ", ".join(columns) or "none"
        message = f"{path} needs a column {name}, found {found}"
        raise FormatError(message, path=str(path), column=name)
    return columns[name]


def _number(path: Path | str, name: str, text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError as exc:
        message = f"{path}: column {name} must hold numbers, found {text!r}"
        raise FormatError(message, path=str(path), column=name) from exc


def _integer(path: Path | str, name: str, text: str | None) -> int:
    try:
        return int(text or "")  # through a float the last digits of an id would be lost
    except ValueError as exc:
        message = f"{path}: column {name} must hold whole numbers, found {text!r}"
        raise FormatError(message, path=str(path), column=name) from exc


def _label(path: Path | str, text: str | None) -> int:
    value = _number(path, "label", {"True": "1", "False": "0"}.get(text or "", text))
    if value not in {0.0, 1.0}:
        message = f"{path}: a label must be 1 (real) or 0 (artefact), found {text}"
        raise FormatError(message, path=str(path), column="label")
    return int(value)
