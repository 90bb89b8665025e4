"""The rules that group exposures into visits, as Rubin has them.

A rule is a `Grouper`; `astra.plugins` finds one by its name, and lets other distributions add their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from astra.errors import ConfigError, FormatError
from astra.sky.visits import ExposureRecord, VisitDefinition

ONE_TO_ONE = 0
BY_GROUP_METADATA = 1
BY_SEQ_START_END = 2
SYSTEM_NAMES = {
    ONE_TO_ONE: "one-to-one",
    BY_GROUP_METADATA: "by-group-metadata",
    BY_SEQ_START_END: "by-seq-start-end",
}

FIRST_SNAP_PREFIX = "9"  # of the id of the first shot of several, as a visit of its own
LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Grouping:
    """What a rule makes of exposures.

    Parameters
    ----------
    visits : tuple of VisitDefinition
        By identifier.
    warnings : tuple of str
        What was left out, and why.
    """

    visits: tuple[VisitDefinition, ...]
    warnings: tuple[str, ...] = ()


def group_id_of_digits(group_name: str) -> int:
    """Return the number that the digits of a group's name make.

    Raises
    ------
    FormatError
        If it has none, or more than fit in 63 bits.
    """
    digits = "".join(character for character in group_name if character in "0123456789")
    if not digits or int(digits) > LARGEST_ID:
        message = (
            f"the name of a group must have digits that make an id below 2**63, found {group_name!r}; "
            f"use another grouping, or a camera with a group_id of its own"
        )
        raise FormatError(message, group_name=group_name)
    return int(digits)


class Grouper(ABC):
    """A rule that groups exposures into visits."""

    systems: ClassVar[Mapping[int, str]]
    """The systems of visits that it fills, by number: their names."""

    sibling_columns: ClassVar[tuple[str, ...]] = ()
    """Exposures of one instrument that agree in these may make a visit together; if none, none do."""

    @abstractmethod
    def group(
        self, exposures: Sequence[ExposureRecord], *, group_id: Callable[[str], int] = group_id_of_digits
    ) -> Grouping:
        """Group exposures into visits.

        Parameters
        ----------
        exposures : sequence of ExposureRecord
            Of one instrument, each once, in any order.
        group_id : callable, optional
            Turns the name of a group into the identifier of its visit.
        """


def in_order(exposures: Iterable[ExposureRecord]) -> list[ExposureRecord]:
    """Return the exposures in order of night, number and identifier, each once.

    Raises
    ------
    ConfigError
        If they belong to more than one instrument.
    """
    distinct = {(exposure.instrument, exposure.exposure): exposure for exposure in exposures}
    instruments = sorted({instrument for instrument, _ in distinct})
    if len(instruments) > 1:
        message = f"exposures of one instrument are grouped at a time, found {', '.join(instruments)}"
        raise ConfigError(message, instruments=instruments)
    return sorted(
        distinct.values(), key=lambda exposure: (exposure.day_obs, exposure.seq_num, exposure.exposure)
    )


class OneToOne(Grouper):
    """Each exposure is a visit of its own, with its identifier and its name."""

    systems: ClassVar[Mapping[int, str]] = {ONE_TO_ONE: SYSTEM_NAMES[ONE_TO_ONE]}

    def group(
        self, exposures: Sequence[ExposureRecord], *, group_id: Callable[[str], int] = group_id_of_digits
    ) -> Grouping:
        """Group; see `Grouper.group`."""
        return _sorted(_single(exposure, ONE_TO_ONE) for exposure in in_order(exposures))


class ByGroupMetadata(Grouper):
    """Exposures with one group in their headers are a visit with the group's name and number."""

    systems: ClassVar[Mapping[int, str]] = {BY_GROUP_METADATA: SYSTEM_NAMES[BY_GROUP_METADATA]}
    sibling_columns: ClassVar[tuple[str, ...]] = ("group_name",)

    def group(
        self, exposures: Sequence[ExposureRecord], *, group_id: Callable[[str], int] = group_id_of_digits
    ) -> Grouping:
        """Group; see `Grouper.group`. FormatError if a name makes no number, or two make one."""
        groups: dict[str, list[ExposureRecord]] = {}
        for exposure in in_order(exposures):
            groups.setdefault(_require_group(exposure), []).append(exposure)
        names: dict[int, str] = {}
        visits = []
        for name, members in groups.items():
            visit = _require_id(group_id(name), f"the group {name!r}")
            if visit in names:
                message = f"the groups {names[visit]!r} and {name!r} both make visit {visit}"
                raise FormatError(message, visit=visit, group_name=name)
            names[visit] = name
            visits.append(_several(members, visit, name, BY_GROUP_METADATA))
        return _sorted(visits)


class OneToOneAndByCounter(Grouper):
    """Each exposure is a visit, and so are those together that a counter in their headers counts as one.

    Where these are several, the exposure that comes first gives its identifier and name to the visit of all;
    its own visit is ``9`` before its identifier, and its name with ``_first``.
    """

    systems: ClassVar[Mapping[int, str]] = {
        system: SYSTEM_NAMES[system] for system in (ONE_TO_ONE, BY_SEQ_START_END)
    }
    sibling_columns: ClassVar[tuple[str, ...]] = ("day_obs", "seq_start", "seq_end")

    def group(
        self, exposures: Sequence[ExposureRecord], *, group_id: Callable[[str], int] = group_id_of_digits
    ) -> Grouping:
        """Group; see `Grouper.group`."""
        groups: dict[tuple[int, int, int], list[ExposureRecord]] = {}
        for exposure in in_order(exposures):
            key = (exposure.day_obs, exposure.seq_start, exposure.seq_end)
            groups.setdefault(key, []).append(exposure)
        visits: list[VisitDefinition] = []
        warnings = []
        for members in groups.values():
            visits += _of_counter(members)
            if _lacks_its_first(members) and members[0].seq_num != 0:
                first = members[0]
                warnings.append(
                    f"the exposure {first.seq_start} of night {first.day_obs}, with which the visit of "
                    f"exposures {first.seq_start} to {first.seq_end} of {first.instrument} begins, is not "
                    f"there; that visit is left out"
                )
        return _sorted(visits, warnings)


def _lacks_its_first(members: Sequence[ExposureRecord]) -> bool:
    return members[0].seq_num != members[0].seq_start


def _of_counter(members: list[ExposureRecord]) -> list[VisitDefinition]:
    """Visits of the exposures with one counter: each, and all if they are more than one by their headers."""
    first = members[0]
    if first.seq_start == first.seq_end:
        return [_single(exposure, ONE_TO_ONE, BY_SEQ_START_END) for exposure in members]
    visits = [_single(exposure, ONE_TO_ONE) for exposure in members]
    if _lacks_its_first(members):
        return visits
    visits[0] = replace(visits[0], visit=_first_snap_id(first), name=f"{first.obs_id}_first")
    return [*visits, _several(members, first.exposure, first.obs_id, BY_SEQ_START_END)]


def _require_group(exposure: ExposureRecord) -> str:
    if not exposure.group_name:
        message = (
            f"exposure {exposure.exposure} of instrument {exposure.instrument} has no group in its header; "
            f"use another grouping"
        )
        raise FormatError(message, exposure=exposure.exposure)
    return exposure.group_name


def _require_id(visit: int, source: str) -> int:
    if not 0 <= visit <= LARGEST_ID:
        message = f"{source} makes the visit {visit}, but the id of a visit has 63 bits"
        raise FormatError(message, visit=visit)
    return visit


def _first_snap_id(exposure: ExposureRecord) -> int:
    visit = int(f"{FIRST_SNAP_PREFIX}{exposure.exposure}")
    return _require_id(visit, f"{FIRST_SNAP_PREFIX} before exposure {exposure.exposure}")


def _single(exposure: ExposureRecord, *systems: int) -> VisitDefinition:
    return VisitDefinition(exposure.instrument, exposure.exposure, exposure.obs_id, systems, (exposure,))


def _several(members: Sequence[ExposureRecord], visit: int, name: str, system: int) -> VisitDefinition:
    return VisitDefinition(members[0].instrument, visit, name, (system,), tuple(members))


def _sorted(visits: Iterable[VisitDefinition], warnings: Iterable[str] = ()) -> Grouping:
    return Grouping(tuple(sorted(visits, key=lambda visit: visit.visit)), tuple(warnings))
