"""What all runs of a task in one root share, as JSON below it: configuration, schemas, package versions.

The first run writes them; each later one is compared with them, and a difference stops it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi
from luigi.parameter import ParameterVisibility

from astra.errors import FormatError, TaskError
from astra.products.atomic import write_text
from astra.tasks.node_config import plain
from astra.tasks.runner import astra_version, mask_passwords, package_version

FOLDER = "provenance"
CONFIG_FLAG = "--clobber-config"
VERSIONS_FLAG = "--clobber-versions"
PACKAGES = ("luigi", "SQLAlchemy", "numpy", "scipy", "astropy", "numba", "sep", "fastavro")


def package_versions() -> dict[str, str]:
    """Return the versions of python, of astra and of what it computes with."""
    own = {"python": sys.version.split()[0], "astra": astra_version()}
    return own | {name: package_version(name) for name in PACKAGES}


def config_values(task: Any) -> dict[str, Any]:
    """Return what configures a task: significant public parameters but for its data id, and its options.

    A parameter without a default says on what a task works, not how: it belongs to the data id.
    """
    data_id = set(task.data_id_names)
    parameters = {
        name: parameter.serialize(task.param_kwargs[name])
        for name, parameter in (task.get_params() if hasattr(task, "get_params") else [])
        if parameter.significant
        and parameter.visibility == ParameterVisibility.PUBLIC
        and name not in data_id
        and _has_default(parameter)
    }
    return dict(_masked({**parameters, **plain(task.config)}))


def configured_values(task: Any) -> dict[str, Any]:
    """Return what luigi.cfg and the command line set for the class of a task, and the task's options.

    What another task chose for this one does not count: it follows from the other's configuration.
    """
    family, configured = task.get_task_family(), {}
    for name, parameter in task.get_params():
        if name in config_values(task) and parameter.has_task_value(family, name):
            configured[name] = parameter.serialize(parameter.normalize(parameter.task_value(family, name)))
    return dict(_masked({**configured, **plain(task.config)}))


def _masked(value: Any) -> Any:
    """Take the passwords out of the URLs in a value."""
    if isinstance(value, dict):
        return {name: _masked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return mask_passwords(value) if isinstance(value, str) else value


def _has_default(parameter: luigi.Parameter) -> bool:
    """Say whether a parameter declares a default, wherever its value comes from."""
    return parameter._default is not luigi.parameter._no_value  # noqa: SLF001  # Luigi has no public spelling


def schema_values(table: Any) -> list[dict[str, Any]]:
    """Return the columns of a structured array: name, type, shape."""
    dtype = table.dtype
    columns = [(name, dtype[name]) for name in dtype.names or ()]
    return [
        {"name": name, "type": column.base.newbyteorder("<").str, "shape": list(column.shape)}
        for name, column in columns
    ]


def differences(new: Any, stored: Any, name: str = "") -> list[str]:
    """Name everything in which two JSON values differ, with both values.

    Parameters
    ----------
    new, stored
        Values as JSON has them.
    name : str, optional
        Dotted name of the values.

    Returns
    -------
    found : list of str
        As in ``fit.nMax is 3, stored is 2``.
    """
    if isinstance(new, dict) and isinstance(stored, dict):
        names = list(dict.fromkeys([*new, *stored]))
        return [
            text
            for key in names
            for text in differences(new.get(key), stored.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if new == stored else [f"{name} is {new!r}, stored is {stored!r}"]


def read_stored(path: Path, flag: str) -> Any:
    """Read a stored value; None if there is none.

    Raises
    ------
    FormatError
        If the file cannot be read as JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        message = f"{path} cannot be read as JSON ({exc}); consider using {flag}"
        raise FormatError(message, path=str(path)) from exc


def write_stored(path: Path, values: Any, *, do_backup: bool = True) -> None:
    """Write a value; with a backup, what was there stays as ``file~1``, the next as ``file~2``."""
    if do_backup and path.exists():
        _back_up(path)
    write_text(path, _text(values))


def _text(values: Any) -> str:
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def _back_up(path: Path) -> None:
    """Link a file under the first free number, so that it is never absent."""
    number = 1
    while True:
        try:
            os.link(path, path.with_name(f"{path.name}~{number}"))
        except FileExistsError:
            number += 1
        else:
            return


def store_equal(
    values: Mapping[Path, Any], *, what: str, flag: str, clobber: bool = False, do_backup: bool = True
) -> None:
    """Store values that must be the same in all runs, or compare them with those stored.

    Nothing is written if any of them differs.

    Parameters
    ----------
    values : mapping
        JSON value by path.
    what : str
        What they are, for the message.
    flag : str
        Option of the command line that overrides a difference.
    clobber : bool, optional
        Replace what is stored.
    do_backup : bool, optional
        Keep what is replaced.

    Raises
    ------
    TaskError
        If a stored value differs.
    """
    if not clobber:
        refuse_differences(values, what, flag)
    for path, value in values.items():
        if clobber:
            write_stored(path, value, do_backup=do_backup)
        elif not path.exists() and not _write_new(path, value):
            refuse_differences({path: value}, what, flag)  # another run was faster


def _write_new(path: Path, value: Any) -> bool:
    """Write a value where there is none; say whether there was none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".new-") as stream:
        stream.write(_text(value))
        stream.flush()
        try:
            os.link(stream.name, path)
        except FileExistsError:
            return False
    path.chmod(0o666 & ~_umask())
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def refuse_differences(values: Mapping[Path, Any], what: str, flag: str) -> None:
    """Compare values with those stored at their paths, where there are any.

    Raises
    ------
    TaskError
        If one differs; it names every difference, and the flag that overrides.
    """
    found: list[str] = []
    for path, value in values.items():
        stored = read_stored(path, flag)
        if stored is not None:
            name = "" if len(values) == 1 and isinstance(value, dict) else path.stem
            found += differences(json.loads(json.dumps(value)), stored, name)
    if found:
        folder = next(iter(values)).parent
        message = (
            f"{what} does not match what is stored in {folder}, and must be the same for all runs there: "
            f"{'; '.join(found)} (override with {flag})"
        )
        raise TaskError(message, differences=found, flag=flag)


def store_versions(
    path: Path, versions: Mapping[str, str], *, clobber: bool = False, do_backup: bool = True
) -> None:
    """Store package versions, or compare those in common; packages that are new are added.

    Raises
    ------
    TaskError
        If a package has another version than stored.
    """
    if not clobber:
        refuse_versions(path, versions)
    stored = None if clobber else read_stored(path, VERSIONS_FLAG)
    if stored is None and (clobber or not _write_new(path, dict(versions))):
        write_stored(path, dict(versions), do_backup=do_backup)
    elif stored is not None and set(versions) - set(stored):
        write_stored(path, {**stored, **versions}, do_backup=do_backup)


def refuse_versions(path: Path, versions: Mapping[str, str]) -> None:
    """Compare package versions with those stored, of the packages in common.

    Raises
    ------
    TaskError
        If a package has another version than stored.
    """
    stored = read_stored(path, VERSIONS_FLAG) or {}
    found = [
        f"{name} is {version}, stored is {stored[name]}"
        for name, version in versions.items()
        if name in stored and stored[name] != version
    ]
    if found:
        message = (
            f"package versions differ from those stored in {path}: {'; '.join(found)} "
            f"(override with {VERSIONS_FLAG}, or --no-versions to leave them unchecked)"
        )
        raise TaskError(message, differences=found, flag=VERSIONS_FLAG)
