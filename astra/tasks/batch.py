"""Batch mode: parameters that hold a value or a tuple of values, their text form and their members.

A batchable parameter (``batch_method=tuple``) takes one value or a tuple; in text a tuple is a JSON list of
the text form of each element, so that a value has the same type before and after any round trip. A single
value whose text would be read as a list stands behind `SINGLE`. Tuples pair up entry by entry; values that
are `Crossed` are combined with all others, and are plain tuples in the task.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import luigi

from astra.tasks.id_ranges import check_count

HASH_DIGITS = 16  # 64 bits: one chance in 4 million of any collision among 3 million tasks of a family

SINGLE = "@value:"  # marks the text of one value that begins like a batch
REFERENCE = "@batch:"  # marks a reference to the stored values of a large batch
LIST_PARAMETERS = (
    luigi.ListParameter,
    luigi.EnumListParameter,
    luigi.ChoiceListParameter,
)  # and their subclasses

T = TypeVar("T")


def hash_parameters(params: Mapping[str, str]) -> str:
    """Hash serialised parameters to 16 hexadecimal digits, whatever their order."""
    text = json.dumps(dict(params), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


class Column(tuple[T, ...]):
    """The values of a batch parameter, which show their number where a tuple would show them all."""

    __slots__ = ()

    @classmethod
    def of(cls, value: Any) -> Any:
        """Wrap a tuple or list; leave anything else."""
        return cls(value) if isinstance(value, (list, tuple)) and not isinstance(value, cls) else value

    def __repr__(self) -> str:
        """Tell the number of values."""
        return f"<{len(self)} values>"


class Crossed(Column[T]):
    """Values of a batch parameter that are combined with all values of the others, as ranges of ids are."""

    __slots__ = ()


def hash_members(common: Mapping[str, str], columns: Mapping[str, list[str]], size: int) -> Iterator[str]:
    """Hash the parameters of each member of a batch, as `hash_parameters` does, without a dict for each.

    Parameters
    ----------
    common : mapping
        Text of what all members share, by name.
    columns : mapping
        Texts of the members' own values, by name.
    size : int
        Number of members.
    """
    if not columns:
        yield from (hash_parameters(common) for _ in range(size))
        return
    encode = json.encoder.encode_basestring_ascii
    fields = {name: encode(text).replace("%", "%%") for name, text in common.items()}
    names = sorted({*fields, *columns})
    slots = (f"{encode(name).replace('%', '%%')}:{fields.get(name, '%s')}" for name in names)
    template = "{" + ",".join(slots) + "}"
    encoded = (map(encode, columns[name]) for name in names if name in columns)
    for row in zip(*encoded, strict=True):
        yield hashlib.sha256((template % row).encode()).hexdigest()[:HASH_DIGITS]


def is_batchable(parameter: luigi.Parameter) -> bool:
    """Say whether a parameter may hold a tuple of values."""
    return bool(parameter._is_batchable())  # noqa: SLF001  # Luigi has no public spelling of it


def accept_batches(name: str, parameter: luigi.Parameter) -> None:
    """Teach a batchable parameter the text form of a tuple, and to normalise each of its values.

    Raises
    ------
    TypeError
        If a single value of the parameter is a list itself: nothing would tell it from a batch.
    """
    if getattr(parameter, "accepts_batches", False):
        return
    if isinstance(parameter, LIST_PARAMETERS):
        message = f"{type(parameter).__name__} {name!r} cannot make a batch: its single values are lists"
        raise TypeError(message)
    vars(parameter).update(
        parse=functools.partial(_parse_named, name, parameter, parameter.parse),
        serialize=functools.partial(_serialize, parameter.serialize),
        normalize=functools.partial(_normalize, _normalize_one(parameter)),
        parse_one=parameter.parse,
        accepts_batches=True,
    )


def _normalize_one(parameter: luigi.Parameter) -> Callable[[Any], Any]:
    """Return what normalises one value; the empty text of an optional parameter is None, as in Luigi's."""
    if not isinstance(parameter, luigi.parameter.OptionalParameterMixin):
        return parameter.normalize  # type: ignore[no-any-return]
    normalize = parameter.normalize
    return lambda value: None if value is None or value == "" else normalize(value)


def _normalize(normalize_one: Callable[[Any], Any], value: Any) -> Any:
    """Normalise one value, or each of a tuple."""
    if isinstance(value, (list, tuple)):
        return type(value)(None if item is None else normalize_one(item) for item in value)
    return normalize_one(value)


def _parse_named(name: str, parameter: luigi.Parameter, parse_one: Callable[[str], Any], text: Any) -> Any:
    """Parse as `_parse` does; an error says which parameter it is about, and what was found."""
    try:
        return _parse(parse_one, getattr(parameter, "parse_text", parse_one), text)
    except ValueError as exc:
        form = getattr(parameter, "text_form", "one value or a JSON list of values")
        message = f"{name} must be {form}, found {str(text)[:80]!r} ({exc})"
        raise ValueError(message) from exc


def _parse(parse_one: Callable[[str], Any], parse_text: Callable[[str], Any], text: Any) -> Any:
    """Parse a JSON list of values or a reference to one into a tuple, else as the parameter does."""
    if not isinstance(text, str):
        return parse_one(text)
    if text.startswith(SINGLE):
        return parse_one(text.removeprefix(SINGLE))
    if text.startswith(REFERENCE):
        from astra.tasks.references import load

        text = load(text)
    if text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except ValueError:
            return parse_text(text)
        if isinstance(items, list):
            return tuple(None if item is None else parse_one(_as_text(item)) for item in items)
    return parse_text(text)


def _as_text(item: Any) -> str:
    """Text of a JSON value: a string is its own, anything else is as JSON writes it."""
    return item if isinstance(item, str) else json.dumps(item)


def _serialize(serialize_one: Callable[[Any], str], value: Any) -> str:
    """Serialise one value, or a tuple into a JSON list of the text of each."""
    if isinstance(value, (list, tuple)):
        return json.dumps(
            [None if item is None else serialize_one(item) for item in value], separators=(",", ":")
        )
    text = serialize_one(value)
    return SINGLE + text if text.startswith(("[", SINGLE, REFERENCE)) or text[:1].isspace() else text


def normalize_batch(
    family: str, values: Iterable[tuple[str, Any]], batch_names: frozenset[str]
) -> list[tuple[str, Any]]:
    """Make all batchable values tuples of one length if any of them is one.

    Tuples pair up entry by entry; `Crossed` values are combined with these and with each other, the first of
    the parameters changing slowest. A single value beside tuples is repeated for every member.

    Parameters
    ----------
    family : str
        Task family, for the message.
    values : iterable of (name, value)
        Parameter values.
    batch_names : frozenset of str
        Names of the batchable parameters.

    Raises
    ------
    luigi.parameter.ParameterException
        If the tuples differ in length, one is empty, or there are too many combinations.
    """
    pairs = list(values)
    columns = {
        name: value for name, value in pairs if name in batch_names and isinstance(value, (list, tuple))
    }
    if not columns:
        return pairs
    _check_lengths(family, columns)
    try:
        columns = _combine(columns)
    except ValueError as exc:
        message = f"{family}: {exc} ({', '.join(columns)})"
        raise luigi.parameter.ParameterException(message) from exc
    size = len(next(iter(columns.values())))
    columns |= {name: (value,) * size for name, value in pairs if name in batch_names - set(columns)}
    return [(name, columns.get(name, value)) for name, value in pairs]


def _check_lengths(family: str, columns: Mapping[str, Any]) -> None:
    """Refuse tuples that do not pair up, and empty ones."""
    lengths = {name: len(value) for name, value in columns.items() if not isinstance(value, Crossed)}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        message = f"{family}: the parameters of a batch must have one length, found {found}"
        raise luigi.parameter.ParameterException(message)
    if empty := [name for name, value in columns.items() if len(value) == 0]:
        message = f"{family}: a batch needs at least one member, {', '.join(empty)} is empty"
        raise luigi.parameter.ParameterException(message)


def _combine(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Make plain tuples of columns: all combinations of what is `Crossed` and of the rows of the others.

    Raises
    ------
    ValueError
        If there are too many.
    """
    if not any(isinstance(value, Crossed) for value in columns.values()):
        return {name: tuple(value) for name, value in columns.items()}
    axes = {name: name if isinstance(value, Crossed) else "" for name, value in columns.items()}
    lengths = {axes[name]: len(value) for name, value in columns.items()}
    size = inner = math.prod(lengths.values())
    check_count(size)
    repeats = {}
    for axis, length in lengths.items():
        repeats[axis] = inner = inner // length
    combined = {}
    for name, value in columns.items():
        once = tuple(item for item in value for _ in range(repeats[axes[name]]))
        combined[name] = once * (size // len(once))
    return combined


def member_kwargs(
    values: Mapping[str, Any], batch_names: frozenset[str], include_common: bool
) -> Iterator[dict[str, Any]]:
    """Yield the keyword arguments of each member of a batch, in order."""
    names = [name for name in values if name in batch_names]
    common = {name: value for name, value in values.items() if name not in batch_names}
    for row in zip(*(values[name] for name in names), strict=True):
        own = dict(zip(names, row, strict=True))
        yield {**common, **own} if include_common else own


def merge_tasks(tasks: Iterable[T]) -> list[T]:
    """Merge single tasks into one batch per class and set of common parameters.

    Equal tasks count once; a task that stands alone stays single; classes without batchable parameters stay
    as they are. The order of first appearance is kept.
    """
    groups: dict[Any, dict[Any, Any]] = {}
    for task in tasks:
        names = frozenset(task.batch_param_names())  # type: ignore[attr-defined]
        kwargs = task.param_kwargs  # type: ignore[attr-defined]
        if names:
            common = tuple((name, value) for name, value in kwargs.items() if name not in names)
            key: Any = (type(task), common)
        else:
            key = (type(task), task)
        own = tuple((name, kwargs[name]) for name in kwargs if name in names)
        groups.setdefault(key, {}).setdefault(own, task)
    return [_merge(list(members.values())) for members in groups.values()]


def _merge(tasks: list[Any]) -> Any:
    """Merge tasks of one class and one set of common parameters."""
    first = tasks[0]
    if len(tasks) == 1:
        return first
    names = first.batch_param_names()
    kwargs = dict(first.param_kwargs)
    for name in names:
        kwargs[name] = tuple(getattr(task, name) for task in tasks)
    return type(first)(**kwargs)


def per_member(requires: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Decorate ``requires`` written for one member, so that a batch requires the merged tasks of all."""

    @functools.wraps(requires)
    def wrapper(self: Any) -> Any:
        if not self.is_batch_mode:
            return requires(self)
        return merge_tasks(
            task for member in self.get_batch_tasks() for task in luigi.task.flatten(requires(member))
        )

    return wrapper
