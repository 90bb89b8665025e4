"""Batches from tables: the columns are the batch parameters, the rows the members."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import OptionalParameterMixin

from astra.errors import FormatError
from astra.products.parameter_tables import read_parameter_table


def batch_values(cls: type[luigi.Task], path: str | Path, given: Iterable[str] = ()) -> dict[str, Any]:
    """Read the values of the batch parameters of a task class from a table.

    Parameters
    ----------
    cls : type
        Task class.
    path : path
        See `read_parameter_table`.
    given : iterable of str
        Names of the parameters that are given elsewhere, which the table must not hold.

    Raises
    ------
    FormatError
        If a column is missing, not a batch parameter, given elsewhere too, or holds a value that its
        parameter does not take; or there are no rows.
    """
    path, given = Path(path), set(given)
    parameters = {name: item for name, item in cls.get_params() if name in set(cls.batch_param_names())}
    columns = read_parameter_table(path)
    _check_names(cls, path, set(columns), given)
    if not any(columns.values()):
        message = f"{path}: a batch of {cls.get_task_family()} needs at least one row, the table has none"
        raise FormatError(message, path=str(path))
    return {name: _parse_column(path, name, parameters[name], texts) for name, texts in columns.items()}


def _check_names(cls: type[luigi.Task], path: Path, columns: set[str], given: set[str]) -> None:
    """Refuse columns that do not belong to the batch parameters, one for one."""
    family, names = cls.get_task_family(), cls.batch_param_names()
    if not names:
        message = f"{family} takes no table: it has no batch parameters"
        raise FormatError(message, path=str(path))
    needed = {
        name for name, item in cls.get_params() if name in names and not item.has_task_value(family, name)
    }
    if extra := sorted(columns - set(names)):
        message = (
            f"{path}: column {', '.join(extra)} is not a batch parameter of {family}, "
            f"which has {', '.join(names)}; remove it, or give it as --{extra[0].replace('_', '-')}"
        )
        raise FormatError(message, path=str(path), columns=extra)
    if missing := sorted(needed - columns - given):
        message = f"{path}: {family} needs column {', '.join(missing)}, found {', '.join(sorted(columns))}"
        raise FormatError(message, path=str(path), columns=missing)
    if twice := sorted(columns & given):
        message = f"{path}: {', '.join(twice)} is a column, and given on its own too; give it once"
        raise FormatError(message, path=str(path), columns=twice)


def _parse_column(
    path: Path, name: str, parameter: luigi.Parameter, texts: list[str | None]
) -> tuple[Any, ...]:
    """Parse the texts of one column as its parameter does."""
    values = []
    for number, text in enumerate(texts, start=1):
        try:
            values.append(_parse(parameter, text))
        except Exception as exc:
            # Parameters raise whatever their parsers do; what is wrong is the value, whose place is known.
            shown = "no value" if text is None else repr(text[:80])
            expected = type(parameter).__name__
            message = f"{path}: row {number} of column {name} must be a value of {expected}, found {shown}"
            raise FormatError(message, path=str(path), column=name, row=number) from exc
    return tuple(values)


def _parse(parameter: luigi.Parameter, text: str | None) -> Any:
    """Parse one value: never a list, whatever it begins with."""
    if text is None:
        if isinstance(parameter, OptionalParameterMixin):
            return None
        message = "there is no value"
        raise ValueError(message)
    return parameter.normalize(parameter.parse_one(text))
