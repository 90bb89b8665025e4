"""Calibrations as FITS files: combined images, defects, photon transfer, crosstalk and kernels.

``PRIMARY`` has the cards, the record says which kind it is. Combined images are ``IMAGE``, ``VARIANCE`` and
``MASK``; defects a table ``DEFECTS`` of boxes; photon transfer one row for each amplifier and a table of its
points; the rest a matrix.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.images.calibration import (
    IMAGE_KINDS,
    AmplifierResponse,
    Calibration,
    Calibrations,
    Crosstalk,
)
from astra.images.defects import Defects, boxes_of, paint_boxes
from astra.images.photon_transfer import PhotonTransfer
from astra.products.fits_record import (
    add_cards,
    native,
    open_fits,
    plain_values,
    read_record,
    record_hdu,
    software_version,
    write_hdus,
)

RECORD_KIND = "calibration"
KINDS = (*IMAGE_KINDS, "defects", "photon_transfer", "crosstalk", "brighter_fatter")
UNITS = {"bias": "adu", "dark": "adu/s", "flat": "", "fringe": "adu"}


@dataclass(frozen=True)
class CalibrationInfo:
    """What a calibration file is of.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    instrument : str
        Camera name.
    detector : int
        Which detector.
    physical_filter : str
        The glass; empty where it does not matter.
    statistics : mapping
        Level, noise and the like, by name.
    metadata : mapping
        Cards.
    """

    kind: str
    instrument: str
    detector: int
    physical_filter: str = ""
    statistics: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def write_calibration(path: Path | str, calibration: Calibration) -> None:
    """Write a combined image; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to; missing folders are made.
    calibration : Calibration
        What to write.
    """
    names = [name.name for name in dataclasses.fields(CalibrationInfo)]
    info = CalibrationInfo(**{name: getattr(calibration, name) for name in names})
    unit = UNITS[calibration.kind]
    planes = [
        _plane("IMAGE", calibration.image, unit),
        _plane("VARIANCE", calibration.variance, f"({unit})2" if unit else ""),
        _plane("MASK", calibration.mask.view(np.int32), ""),
    ]
    content = {
        "gain": float(calibration.gain),
        "gains": plain_values(calibration.gains),
        "sections": {
            name: [[int(part.start or 0), int(part.stop)] for part in section]
            for name, section in calibration.sections.items()
        },
    }
    _write(path, info, planes, content)


def read_calibration(path: Path | str, kind: str | None = None, *, with_variance: bool = True) -> Calibration:
    """Read a combined image.

    Parameters
    ----------
    path : Path or str
        The file.
    kind : str, optional
        Which kind it must be.
    with_variance : bool, optional
        Else the variance is NaN, and takes no memory: frames are corrected without it.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is damaged, or no combined image of that kind.
    """
    with open_fits(path) as hdus:
        record = _record(hdus, path, (kind,) if kind else IMAGE_KINDS)
        image = native(hdus["IMAGE"].data, np.float32)
        unknown = np.broadcast_to(np.float32(np.nan), image.shape)
        return Calibration(
            **record["info"],
            image=image,
            variance=native(hdus["VARIANCE"].data, np.float32) if with_variance else unknown,
            mask=native(hdus["MASK"].data, np.int32).view(np.uint32),
            gain=record["gain"],
            gains=record["gains"],
            sections={
                name: (slice(*rows), slice(*columns))
                for name, (rows, columns) in record.get("sections", {}).items()
            },
        )


def read_calibration_info(path: Path | str) -> CalibrationInfo:
    """Read only what a calibration file is of; errors as in `read_calibration`."""
    with open_fits(path) as hdus:
        return CalibrationInfo(**_record(hdus, path, KINDS)["info"])


def write_defects(path: Path | str, defects: Defects, info: CalibrationInfo) -> None:
    """Write defects as boxes, with the shape of the image; the file appears whole or not at all."""
    table = fits.BinTableHDU(defects.boxes, name="DEFECTS")
    for index, name in enumerate(defects.boxes.dtype.names or (), start=1):
        if name != "kinds":
            table.header[f"TUNIT{index}"] = "pixel"
    _write(path, info, [table], {"shape": list(defects.kinds.shape)})


def read_defects(path: Path | str) -> Defects:
    """Read defects; errors as in `read_calibration`."""
    with open_fits(path) as hdus:
        record = _record(hdus, path, ("defects",))
        data = hdus["DEFECTS"].data
        boxes = np.array(data).view(np.ndarray).astype(boxes_of(np.zeros((1, 1), np.uint8)).dtype)
        n_rows, n_columns = record["shape"]
        return Defects(paint_boxes(boxes, (n_rows, n_columns)), boxes)


def write_photon_transfer(
    path: Path | str, found: Mapping[str, PhotonTransfer], info: CalibrationInfo
) -> None:
    """Write the photon transfer of the amplifiers of a detector; the file appears whole or not at all."""
    rows = [
        (name, r.gain, r.gain_err, r.read_noise, r.turnoff_adu, transfer.brighter_fatter)
        for name, transfer in found.items()
        for r in [transfer.response]
    ]
    names = ["amplifier", "gain", "gain_err", "read_noise", "turnoff", "brighter_fatter"]
    table = np.array(rows, dtype=[("amplifier", "U32"), *((name, "f8") for name in names[1:])])
    points = np.concatenate([_points(name, transfer) for name, transfer in found.items()])
    hdus = [fits.BinTableHDU(table, name="RESPONSE"), fits.BinTableHDU(points, name="POINTS")]
    for index, unit in enumerate(["", "adu-1", "adu-1", "", "adu", "adu-1"], start=1):
        if unit:
            hdus[0].header[f"TUNIT{index}"] = unit
    hdus[1].header["TUNIT2"], hdus[1].header["TUNIT3"] = "adu", "adu2"
    covariances = {
        name: {f"{dy},{dx}": value for (dy, dx), value in transfer.covariance.items()}
        for name, transfer in found.items()
    }
    _write(path, info, hdus, {"covariances": covariances})


def read_responses(path: Path | str) -> dict[str, AmplifierResponse]:
    """Read gain, read noise and turnoff of each amplifier; errors as in `read_calibration`."""
    with open_fits(path) as hdus:
        _record(hdus, path, ("photon_transfer",))
        return {
            str(row["amplifier"]): AmplifierResponse(
                float(row["gain"]), float(row["gain_err"]), float(row["read_noise"]), float(row["turnoff"])
            )
            for row in hdus["RESPONSE"].data
        }


def write_crosstalk(path: Path | str, crosstalk: Crosstalk, info: CalibrationInfo) -> None:
    """Write a crosstalk matrix, rows the targets; the file appears whole or not at all."""
    planes = [_plane("LINEAR", crosstalk.coefficients, "")]
    if crosstalk.quadratic is not None:
        planes.append(_plane("SQUARE", crosstalk.quadratic, ""))
    _write(path, info, planes, {"names": list(crosstalk.names)})


def read_crosstalk(path: Path | str) -> Crosstalk:
    """Read a crosstalk matrix; errors as in `read_calibration`."""
    with open_fits(path) as hdus:
        names = tuple(_record(hdus, path, ("crosstalk",))["names"])
        square = native(hdus["SQUARE"].data, np.float64) if "SQUARE" in hdus else None
        return Crosstalk(names, native(hdus["LINEAR"].data, np.float64), square)


def write_kernel(path: Path | str, kernel: NDArray[np.float64], info: CalibrationInfo) -> None:
    """Write a brighter-fatter kernel [1/e-], shape (k, k); the file appears whole or not at all."""
    _write(path, info, [_plane("KERNEL", kernel, "")], {})


def read_kernel(path: Path | str) -> NDArray[np.float64]:
    """Read a brighter-fatter kernel; errors as in `read_calibration`."""
    with open_fits(path) as hdus:
        _record(hdus, path, ("brighter_fatter",))
        return native(hdus["KERNEL"].data, np.float64)


def load_calibrations(files: Mapping[str, tuple[str, str]], *, with_variance: bool = True) -> Calibrations:
    """Read the calibrations of a detector.

    Parameters
    ----------
    files : mapping
        Path and checksum of the file of each kind.
    with_variance : bool, optional
        See `read_calibration`.

    Returns
    -------
    calibrations : Calibrations
        With the names of the files, for the header of what they correct.

    Raises
    ------
    MissingDataError
        If a file is not there.
    FormatError
        If one is damaged, or of another kind.
    """
    paths = {kind: path for kind, (path, _) in files.items()}
    images = {
        kind: read_calibration(paths[kind], kind, with_variance=with_variance)
        for kind in IMAGE_KINDS
        if kind in paths
    }
    return Calibrations(
        **images,
        defects=read_defects(paths["defects"]).mask if "defects" in paths else None,
        crosstalk=read_crosstalk(paths["crosstalk"]) if "crosstalk" in paths else None,
        brighter_fatter=read_kernel(paths["brighter_fatter"]) if "brighter_fatter" in paths else None,
        responses=read_responses(paths["photon_transfer"]) if "photon_transfer" in paths else None,
        sources={kind: (Path(path).name, checksum) for kind, (path, checksum) in files.items()},
    )


def _write(path: Path | str, info: CalibrationInfo, hdus: list[Any], content: Mapping[str, Any]) -> None:
    primary = fits.PrimaryHDU()
    cards = {
        "ORIGIN": "astra",
        "ASTRAVER": software_version(),
        "CALKIND": info.kind,
        "INSTRUME": info.instrument,
        "DETECTOR": info.detector,
        "FILTER": info.physical_filter,
    }
    add_cards(primary.header, plain_values(cards))
    add_cards(primary.header, plain_values(info.metadata))
    plain = {name: value for name, value in vars(info).items() if name not in {"statistics", "metadata"}}
    plain |= {name: plain_values(getattr(info, name)) for name in ("statistics", "metadata")}
    write_hdus(path, [primary, *hdus, record_hdu({"kind": RECORD_KIND, "info": plain, **content})])


def _record(hdus: fits.HDUList, path: Path | str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Record of an open file, which must be of one of some kinds."""
    record = read_record(hdus) or {}
    found = record.get("info", {}).get("kind") if record.get("kind") == RECORD_KIND else None
    if found not in kinds:
        message = (
            f"{path} must be a calibration of kind {' or '.join(kinds)}, found {found or 'none of astra'}"
        )
        raise FormatError(message, path=str(path), found=str(found))
    return record


def _points(name: str, transfer: PhotonTransfer) -> NDArray[np.void]:
    dtype = [("amplifier", "U32"), ("signal", "f8"), ("variance", "f8"), ("n_pixels", "i8"), ("used", "?")]
    points = np.zeros(len(transfer.signal_adu), dtype=dtype)
    points["amplifier"] = name
    points["signal"], points["variance"] = transfer.signal_adu, transfer.variance_adu2
    points["n_pixels"], points["used"] = transfer.n_pixels, transfer.used
    return points


def _plane(name: str, plane: NDArray[Any], unit: str) -> fits.ImageHDU:
    hdu = fits.ImageHDU(np.ascontiguousarray(plane), name=name)
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu
