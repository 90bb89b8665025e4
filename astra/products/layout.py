"""Where products lie below the output root."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = {"qa": ".png", "efficiencyPlot": ".png"}


def product_folder(root: Path | str, instrument: str, visit: int, detector: int, task_folder: str) -> Path:
    """Folder of what one task made of one detector of one visit.

    Parameters
    ----------
    root : Path or str
        Output root.
    instrument : str
        Camera name.
    visit, detector : int
        Which data.
    task_folder : str
        Folder of the task, one for each of its configurations.

    Returns
    -------
    folder : Path
        ``<root>/products/<instrument>/<visit>/<detector>/<task_folder>``

    Raises
    ------
    ValueError
        If a part would leave its place: empty, hidden, or with a separator.
    """
    return _below(root, "products", instrument, str(int(visit)), str(int(detector)), task_folder)


def product_path(
    root: Path | str, instrument: str, visit: int, detector: int, task_folder: str, *, kind: str
) -> Path:
    """Path of one product, ``<product_folder>/<kind>.fits``; parameters and errors as in `product_folder`.

    A picture (kind ``qa``) ends in ``.png``.
    """
    name = _part(kind) + SUFFIXES.get(kind, ".fits")
    return product_folder(root, instrument, visit, detector, task_folder) / name


def template_path(
    root: Path | str, instrument: str, tile: int, task_folder: str, *, kind: str = "template"
) -> Path:
    """Path of a template on a tile of the sky, or of what belongs to it.

    It is ``<root>/products/<instrument>/templates/<tile>/<task_folder>/<kind>.fits``.

    Raises
    ------
    ValueError
        As in `product_folder`.
    """
    folder = _below(root, "products", instrument, "templates", str(int(tile)), task_folder)
    return folder / f"{_part(kind)}.fits"


def template_manifest_path(root: Path | str, instrument: str, task_folder: str) -> Path:
    """Path of the list of the tiles that an ingested template lies on.

    It is ``<root>/products/<instrument>/templates/ingested/<task_folder>.json``.

    Raises
    ------
    ValueError
        As in `product_folder`.
    """
    return _below(root, "products", instrument, "templates", "ingested", f"{_part(task_folder)}.json")


def calibration_path(
    root: Path | str, instrument: str, detector: int, task_folder: str, *, kind: str
) -> Path:
    """Path of a calibration.

    It is ``<root>/products/<instrument>/calibrations/<detector>/<task_folder>/<kind>.fits``.

    Raises
    ------
    ValueError
        As in `product_folder`.
    """
    folder = _below(root, "products", instrument, "calibrations", str(int(detector)), task_folder)
    return folder / f"{_part(kind)}.fits"


def alert_path(root: Path | str, visit: int, detector: int) -> Path:
    """Path of the alerts of one detector of one visit, ``<root>/alerts/<visit>_<detector>.avro``."""
    return Path(root) / "alerts" / f"{int(visit)}_{int(detector)}.avro"


def report_folder(root: Path | str, instrument: str, night: int) -> Path:
    """Folder of the report of a night, ``<root>/reports/<instrument>_<night>``.

    Raises
    ------
    ValueError
        As in `product_folder`.
    """
    return _below(root, "reports", f"{_part(instrument)}_{int(night)}")


def reference_catalog_folder(root: Path | str, name: str) -> Path:
    """Folder of an ingested reference catalogue, ``<root>/reference_catalogs/<name>``.

    Raises
    ------
    ValueError
        As in `product_folder`.
    """
    return _below(root, "reference_catalogs", name)


def family_folder(root: Path | str, version: str, family: str) -> Path:
    """Folder of the tasks of one family and version, ``<root>/products/<version>/<family>``.

    Parameters
    ----------
    root : Path or str
        Output root.
    version : str
        ``major.minor`` of what wrote them: another one makes everything again, and must not overwrite it.
    family : str
        Task family, with its namespace.

    Raises
    ------
    ValueError
        As in `product_folder`.
    """
    return _below(root, "products", version, family)


def _below(root: Path | str, *parts: str) -> Path:
    return Path(root).joinpath(*(_part(part) for part in parts))


def _part(text: str) -> str:
    if not text or text.startswith(".") or any(forbidden in text for forbidden in ("/", "\\", "\0")):
        message = f"{text!r} cannot be one part of a path: it is empty, begins with a dot or has a separator"
        raise ValueError(message)
    return text
