"""Many packets at once, from columns and images straight to Avro bytes.

The ordinary way makes a dict of each packet, checks it, and lets fastavro write it (`astra.alerts.packets`,
`astra.alerts.wire`). This one gives the same bytes. A row of the history is encoded once, however many
packets list it, and stamps are cut into the packet itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astra.alerts import encoder_kernels as kernels
from astra.alerts.column_types import Columns, Field
from astra.alerts.columns import columns_of, encode_fields, encode_rows
from astra.alerts.cutout_batch import StampCutter, StampPlan
from astra.alerts.encoder_kernels import Choices, EncodedRows, Lists, Parts
from astra.alerts.schemas import LATEST_VERSION, extra_fields, load_schema, schema_id

_HEAD = (
    Field("diaSourceId", "long", False),
    Field("observation_reason", "string", True),
    Field("target_name", "string", True),
)
_IMAGES = ("difference", "science", "template")
_BATCH = 64  # packets that are put together at a time: some megabytes


@dataclass(frozen=True)
class Related:
    """Rows that packets list, and which: packet i has those of ``rows[start[i] : start[i + 1]]``.

    Parameters
    ----------
    columns : mapping of str to ndarray, or structured ndarray
        Rows, see `astra.alerts.column_types`.
    rows : int64 ndarray
        Numbers of rows, packet after packet.
    start : int64 ndarray, shape (n + 1,)
        Where the list of each packet begins, and the end.
    """

    columns: Columns | NDArray[Any]
    rows: NDArray[np.int64]
    start: NDArray[np.int64]

    @classmethod
    def of_lists(cls, columns: Columns | NDArray[Any], lists: Sequence[Sequence[int]]) -> Related:
        """Make one from a list of row numbers for each packet."""
        start = np.zeros(len(lists) + 1, dtype=np.int64)
        np.cumsum([len(one) for one in lists], out=start[1:])
        return cls(columns, np.array([row for one in lists for row in one], dtype=np.int64), start)


@dataclass(frozen=True)
class Chosen:
    """Rows of which packets have one or none.

    Parameters
    ----------
    columns : mapping of str to ndarray, or structured ndarray
        Rows, see `astra.alerts.column_types`.
    rows : int64 ndarray, shape (n,)
        Number of the row of each packet; -1 for none.
    """

    columns: Columns | NDArray[Any]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class AlertBatch:
    """All that the packets of some detections say, but for the stamps.

    Parameters
    ----------
    dia_sources : mapping of str to ndarray, or structured ndarray, n rows
        Detections, see `astra.alerts.column_types`.
    prv_sources, prv_forced : Related, optional
        Earlier detections and forced measurements of the objects, oldest first.
    dia_objects, ss_sources, mpc_orbits : Chosen, optional
        Objects; geometry and orbit of solar-system bodies.
    observation_reason, target_name : str, optional
        What the visit was for.
    extra : mapping of str to Related
        Lists of what only our own schema has: ``upperLimits``, ``nearestStars``, ``nearestGalaxies``.
    """

    dia_sources: Columns | NDArray[Any]
    prv_sources: Related | None = None
    prv_forced: Related | None = None
    dia_objects: Chosen | None = None
    ss_sources: Chosen | None = None
    mpc_orbits: Chosen | None = None
    observation_reason: str | None = None
    target_name: str | None = None
    extra: Mapping[str, Related] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.dia_sources["diaSourceId"])


def encode_alerts(
    batch: AlertBatch,
    cutters: Mapping[str, StampCutter] | None = None,
    *,
    version: str = LATEST_VERSION,
    framed: bool = False,
) -> Iterator[EncodedRows]:
    """Encode packets, some at a time.

    Parameters
    ----------
    batch : AlertBatch
        What they say.
    cutters : mapping of str to StampCutter, optional
        Where stamps come from: ``difference``, ``science``, ``template``; one that is missing is null. The
        detections need columns ``x``, ``y`` [pixel] then, and ``bboxSize`` [pixel].
    version : str, optional
        Schema version.
    framed : bool, optional
        Begin each packet with the frame of the wire, see `astra.alerts.wire`.

    Yields
    ------
    packets : EncodedRows
        In the order of the detections.

    Raises
    ------
    AlertError
        If a column is missing or has the wrong type, or a value does not fit; it names the field.
    ValueError
        If there are lists of something that the schema does not have.
    """
    whole = _Packets(batch, version, framed)
    plans = _plan(cutters or {}, batch)
    for begin in range(0, len(batch), _BATCH):
        rows = slice(begin, min(begin + _BATCH, len(batch)))
        stamps = np.full((rows.stop - begin, len(_IMAGES)), -1, dtype=np.int64)
        for name, plan in plans.items():
            stamps[:, _IMAGES.index(name)] = plan.sizes[rows]
        packets = whole.write(rows, stamps)
        for name, plan in plans.items():
            position = np.ascontiguousarray(stamps[:, _IMAGES.index(name)])
            plan.write(packets.data, position, rows)
        yield packets


def encode_all(
    batch: AlertBatch, cutters: Mapping[str, StampCutter] | None = None, **options: Any
) -> list[bytes]:
    """Encode packets, as a list; parameters as in `encode_alerts`."""
    return [
        packets.row(i) for packets in encode_alerts(batch, cutters, **options) for i in range(packets.n_rows)
    ]


def _plan(cutters: Mapping[str, StampCutter], batch: AlertBatch) -> dict[str, StampPlan]:
    """Plan the stamps of all images; those of one WCS share their headers."""
    sources, plans = batch.dia_sources, dict[str, StampPlan]()
    for name, cutter in cutters.items():
        like = next(iter(plans.values()), None)
        plans[name] = cutter.plan(sources["x"], sources["y"], sources["bboxSize"], like)
    return plans


class _Packets:
    """Encoded parts of packets, and our own lists as their ends."""

    def __init__(self, batch: AlertBatch, version: str, framed: bool) -> None:
        n = len(batch)
        self.tail = _tails(batch, version)
        parts = self.parts = Parts(
            _heads(batch, version, framed),
            encode_rows("diaSource", batch.dia_sources, version),
            _lists("diaSource", batch.prv_sources, n, version),
            _lists("diaForcedSource", batch.prv_forced, n, version),
            _choices("diaObject", batch.dia_objects, n, version),
            _choices("ssSource", batch.ss_sources, n, version),
            _choices("mpc_orbits", batch.mpc_orbits, n, version),
        )
        self.sizes = np.diff(parts.head.start) + np.diff(parts.source.start)
        self.sizes += sum(kernels.list_sizes(one) for one in (parts.prv_sources, parts.prv_forced))
        for chosen in (parts.dia_object, parts.ss_source, parts.mpc_orbit):
            self.sizes += kernels.choice_sizes(chosen)
        if self.tail is not None:
            self.sizes += np.diff(self.tail.start)

    def write(self, rows: slice, stamps: NDArray[np.int64]) -> EncodedRows:
        """Write packets but for the content of their stamps; sizes of stamps become where they belong."""
        parts, numbers = self.parts, np.arange(rows.start, rows.stop)
        start = np.zeros(len(stamps) + 1, dtype=np.int64)
        np.cumsum(self.sizes[rows] + kernels.stamp_sizes(stamps).sum(axis=1), out=start[1:])
        out, position = np.empty(start[-1], dtype=np.uint8), start[:-1].copy()
        for piece in (parts.head, parts.source):
            kernels.put_rows(out, position, piece, numbers, False)
        for related in (parts.prv_sources, parts.prv_forced):
            here = related._replace(start=related.start[rows.start : rows.stop + 1])
            kernels.put_lists(out, position, here)
        for chosen in (parts.dia_object, parts.ss_source, parts.mpc_orbit):
            kernels.put_rows(out, position, chosen.encoded, chosen.rows[rows], True)
        kernels.put_stamp_lengths(out, position, stamps)
        if self.tail is not None:
            kernels.put_rows(out, position, self.tail, numbers, False)
        return EncodedRows(out, start)


def _heads(batch: AlertBatch, version: str, framed: bool) -> EncodedRows:
    """Encode what packets begin with: the frame, and the fields before the detection."""
    visit = {"observation_reason": batch.observation_reason, "target_name": batch.target_name}
    columns = columns_of([visit] * len(batch), visit) | {"diaSourceId": batch.dia_sources["diaSourceId"]}
    heads = encode_fields("alert", _HEAD, columns, version)
    if not framed:
        return heads
    frame = np.frombuffer(struct.pack(">bI", 0, schema_id(version)), dtype=np.uint8)
    start = heads.start + len(frame) * np.arange(len(heads.start))
    data, position = np.empty(start[-1], dtype=np.uint8), start[:-1].copy()
    for number, byte in enumerate(frame.tolist()):
        data[position + number] = byte
    position += len(frame)
    kernels.put_rows(data, position, heads, np.arange(len(position)), False)
    return EncodedRows(data, start)


def _lists(record: str, related: Related | None, n: int, version: str) -> Lists:
    if related is None:
        return Lists(encode_rows(record, None), np.zeros(0, np.int64), np.zeros(n + 1, np.int64))
    encoded = encode_rows(record, related.columns, version)
    _check_rows(record, related.rows, encoded.n_rows, 0)
    if len(related.start) != n + 1:
        message = f"lists of {record} for {n} packets need {n + 1} bounds, found {len(related.start)}"
        raise ValueError(message)
    if related.start[0] < 0 or related.start[-1] > len(related.rows) or (np.diff(related.start) < 0).any():
        message = f"the bounds of lists of {record} must rise from 0 to {len(related.rows)} at most"
        raise ValueError(message)
    return Lists(encoded, related.rows, related.start)


def _choices(record: str, chosen: Chosen | None, n: int, version: str) -> Choices:
    if chosen is None:
        return Choices(encode_rows(record, None), np.full(n, -1, np.int64))
    encoded = encode_rows(record, chosen.columns, version)
    _check_rows(record, chosen.rows, encoded.n_rows, -1)
    if len(chosen.rows) != n:
        message = f"{n} packets need {n} choices of {record}, found {len(chosen.rows)}"
        raise ValueError(message)
    return Choices(encoded, chosen.rows)


def _check_rows(record: str, rows: NDArray[np.int64], count: int, lowest: int) -> None:
    """Refuse numbers of rows that are not there: compiled loops would read beyond the end."""
    if len(rows) and not (lowest <= rows.min() and rows.max() < count):
        message = f"rows of {record} are numbered {lowest} to {count - 1}, found {rows.min()} to {rows.max()}"
        raise ValueError(message)


def _tails(batch: AlertBatch, version: str) -> EncodedRows | None:
    """Our own lists, end to end; None for one of Rubin's versions."""
    names = extra_fields(version)
    unknown = sorted(set(batch.extra) - set(names))
    if unknown:
        raise ValueError(f"alert schema {version} has no field {', '.join(unknown)}")
    if not names:
        return None
    records = {
        one["name"]: _item_name(one["type"]) for one in load_schema(version)["fields"] if one["name"] in names
    }
    lists = [_lists(records[name], batch.extra.get(name), len(batch), version) for name in names]
    sizes = sum((kernels.list_sizes(one) for one in lists), np.zeros(len(batch), dtype=np.int64))
    start = np.zeros(len(batch) + 1, dtype=np.int64)
    np.cumsum(sizes, out=start[1:])
    data, position = np.empty(start[-1], dtype=np.uint8), start[:-1].copy()
    for one in lists:
        kernels.put_lists(data, position, one)
    return EncodedRows(data, start)


def _item_name(union: list[Any]) -> str:
    """Short name of the records of a nullable array."""
    items = union[1]["items"]
    name: str = items if isinstance(items, str) else items["name"]
    return name.rpartition(".")[2]
