"""Files of alerts: Avro object containers that carry their schema, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import fastavro

from astra.alerts.container import ContainerWriter
from astra.alerts.encoder_kernels import EncodedRows
from astra.alerts.packets import Alert
from astra.alerts.schemas import LATEST_VERSION, load_schema
from astra.errors import AlertError, MissingDataError
from astra.products.atomic import atomic_path

_FILE_ERRORS = (
    *(EOFError, ValueError, TypeError, LookupError, OverflowError, MemoryError),
    fastavro.read.SchemaResolutionError,
)


def write_alerts(
    path: Path | str, alerts: Iterable[Alert], *, version: str = LATEST_VERSION, codec: str = "null"
) -> int:
    """Write alerts to a container file; none is a valid file too.

    Parameters
    ----------
    path : Path or str
        Where the file must appear, ``<visit>_<detector>.avro``.
    alerts : iterable of dict
        Packets of `astra.alerts.packets.make_alert`; taken one at a time.
    version : str, optional
        Schema version.
    codec : {"null", "deflate"}, optional
        Compression.

    Returns
    -------
    n_alerts : int
        How many were written.

    Raises
    ------
    AlertError
        If a packet does not fit the schema; then there is no file.
    """
    count = 0

    def counted() -> Iterable[Alert]:
        nonlocal count
        for alert in alerts:
            count += 1
            yield alert

    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        try:
            fastavro.writer(stream, load_schema(version), counted(), codec=codec, strict=True)
        except _FILE_ERRORS as exc:
            message = f"alert number {count} of {path} does not fit schema {version}: {exc}"
            raise AlertError(message, path=str(path), version=version) from exc
    return count


def write_encoded(path: Path | str, packets: Iterable[EncodedRows], *, version: str = LATEST_VERSION) -> int:
    """Write packets that `astra.alerts.encoder.encode_alerts` gives to a container file.

    Parameters
    ----------
    path : Path or str
        Where the file must appear, ``<visit>_<detector>.avro``.
    packets : iterable of EncodedRows
        Packets without frame; each set of them becomes a block of the file.
    version : str, optional
        Schema version that they were encoded with.

    Returns
    -------
    n_alerts : int
        How many were written.

    Raises
    ------
    AlertError
        What encoding them raises; then there is no file, and an older one stands.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        container = ContainerWriter(stream, version)
        for block in packets:
            container.write(block)
    return container.count


def read_alerts(path: Path | str, *, version: str | None = None) -> list[Alert]:
    """Read all alerts of a container file, with the schema that the file carries.

    Parameters
    ----------
    path : Path or str
        The file.
    version : str, optional
        Schema version to bring them to, as in `astra.alerts.wire.decode`. None: as they were written.

    Raises
    ------
    MissingDataError
        If the file is not there.
    AlertError
        If it is not a whole Avro container.
    """
    try:
        with Path(path).open("rb") as stream:
            reader = fastavro.reader(stream, None if version is None else load_schema(version))
            return [record for record in reader if isinstance(record, dict)]
    except FileNotFoundError as exc:
        message = f"alert file {path} is not there"
        raise MissingDataError(message, path=str(path)) from exc
    except _FILE_ERRORS as exc:
        message = f"alert file {path} is not a whole Avro container: {exc}"
        raise AlertError(message, path=str(path)) from exc
