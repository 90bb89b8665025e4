"""A camera that is one TOML file: `astra.instruments.camera_tables` says what stands in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from astra.errors import FormatError
from astra.images.exposure import VisitInfo
from astra.images.raw_image import RawImage
from astra.instruments.amplifier_sections import Sections, tile_problem
from astra.instruments.amplifier_tables import AmplifierPlan, read_sections
from astra.instruments.base import Instrument, RawFrame, require_detector
from astra.instruments.camera_tables import CameraPlan, read_camera_file
from astra.instruments.exposure_record import ExposureReader
from astra.instruments.focal_plane import image_corners
from astra.instruments.header_wcs import has_sky, read_header_wcs
from astra.instruments.headers import Headers, image_shape, read_image
from astra.instruments.places import Place, PlaceFinder
from astra.instruments.quantities import Reading, require_value
from astra.products.fits_record import open_fits

if TYPE_CHECKING:
    from astropy.wcs import WCS


class TomlCamera(Instrument):
    """A camera as a TOML file describes it.

    Parameters
    ----------
    plan : CameraPlan
        What the file says.
    """

    def __init__(self, plan: CameraPlan) -> None:
        self.plan = plan
        self.name = plan.name
        self.pixel_scale_arcsec = plan.pixel_scale_arcsec
        self.detectors = tuple(detector.value for detector in plan.detectors)
        self.focal_plane = plan.focal_plane
        self.fiducials = plan.fiducials
        self.ccd_exposure_id_bits = plan.identifiers.ccd_exposure_id_bits
        if (site := plan.site) is not None:
            self.observatory = (site.longitude_deg, site.latitude_deg, site.height_m)
        self._reader = ExposureReader(plan)
        self._finder = PlaceFinder(plan)

    @classmethod
    def from_file(cls, path: Path | str) -> TomlCamera:
        """Read a camera; see `astra.instruments.camera_tables.read_camera_file` for the errors."""
        return cls(read_camera_file(path))

    def find_raws(self, folder: Path) -> list[Path]:
        """Return the files below a folder whose names match, sorted; the leftovers of writers are not."""
        return sorted(
            path
            for path in Path(folder).rglob("*")
            if not path.name.startswith(".")
            and any(fnmatch(path.name, pattern) for pattern in self.plan.files.patterns)
            and path.is_file()
        )

    def read_frames(self, path: Path) -> list[RawFrame]:
        """Read the headers of a raw file; see `Instrument.read_frames`."""
        with open_fits(path) as hdus:
            return [self._frame(place) for place in self._finder.find(Path(path), hdus)]

    def read_raw(self, path: Path, detector: int | None = None) -> RawImage:
        """Read one detector of a raw file; see `Instrument.read_raw`."""
        path = Path(path)
        with open_fits(path) as hdus:
            places = {place.plan.value.detector: place for place in self._finder.find(path, hdus)}
            place = places[require_detector(path, list(places), detector)]
            frame, plane = self._frame(place), self.focal_plane
            sections = self._sections(place)
            return RawImage(
                pixels=_mosaic(place),
                amplifiers=tuple(
                    plan.amplifier(where, place.headers_of(index))
                    for index, (plan, where) in enumerate(zip(place.plan.amplifiers, sections, strict=True))
                ),
                info=VisitInfo(
                    instrument=self.name,
                    visit=frame.exposure,
                    detector=frame.detector,
                    band=frame.band,
                    physical_filter=frame.physical_filter,
                    midpoint_mjd_tai=0.5 * (frame.begin_mjd_tai + frame.end_mjd_tai),
                    exposure_time_s=frame.exposure_time_s,
                ),
                reference_gain=self.plan.reference_gain,
                defects=place.plan.bad_pixels(),
                wcs=self._wcs(place, self._values(place)),
                dark_time_s=frame.dark_time_s,
                observation_type=frame.observation_type,
                vignetted=None if plane is None else plane.vignetted(place.plan.value),
            )

    def pack_visit_detector(self, visit: int, detector: int) -> int:
        """Pack visit and detector; see `Instrument.pack_visit_detector`.

        Raises
        ------
        ValueError
            If the visit is not one of this camera, or the detector is unknown.
        """
        return self.plan.identifiers.pack(int(visit), self.detector(detector).detector)

    def inspect(self, path: Path) -> list[tuple[int, list[Reading]]]:
        """Tell how the headers of a raw file are read; see `Instrument.inspect`."""
        path = Path(path)
        with open_fits(path) as hdus:
            return [
                (place.plan.value.detector, [*self._reader.read(place.headers), *self._inspect_pixels(place)])
                for place in self._finder.find(path, hdus)
            ]

    def _inspect_pixels(self, place: Place) -> list[Reading]:
        """Tell how the amplifiers and the coordinates are read."""
        found = [
            reading
            for index, plan in enumerate(place.plan.amplifiers)
            for reading in _amplifier_readings(plan, place.headers_of(index))
        ]
        try:
            self._sections(place)
        except FormatError as exc:
            problem = str(exc).removeprefix(f"{place.headers.path}: ")
            found.append(Reading("sections", "amplifiers", problem=problem))
        try:
            wcs = self._wcs(place, self._reader.values(place.headers))
        except FormatError as exc:
            problem = str(exc).removeprefix(f"{place.headers.path}: ")
            return [*found, Reading("wcs", "header", problem=problem)]
        if wcs is not None:
            shape = place.plan.value.n_columns / 2 - 0.5, place.plan.value.n_rows / 2 - 0.5
            ra, dec = (float(value) for value in wcs.all_pix2world(*shape, 0))
            source = wcs.wcs.ctype[0]
            found.append(Reading("middle of the image", source, value=f"{ra:.5f} {dec:+.5f}", unit="deg"))
        return found

    def _values(self, place: Place) -> dict[str, Any]:
        """Return the quantities of the exposure; FormatError if one of them is wrong."""
        return {
            reading.name: require_value(place.headers.path, reading)
            for reading in self._reader.read(place.headers)
        }

    def _frame(self, place: Place) -> RawFrame:
        values = self._values(place)
        wcs = self._wcs(place, values) if values["can_see_sky"] else None
        detector = place.plan.value
        named = {
            name: values[name]
            for name in RawFrame.__dataclass_fields__
            if values.get(name) is not None and name not in {"path", "instrument", "detector", "corners"}
        }
        return RawFrame(
            path=place.headers.path,
            instrument=self.name,
            detector=detector.detector,
            corners=None if wcs is None else image_corners(wcs, detector.n_rows, detector.n_columns),
            **named,
        )

    def _wcs(self, place: Place, values: Mapping[str, Any]) -> WCS | None:
        """Return the coordinates of the image, from the first of the sources that has any."""
        for source in self.plan.wcs_sources:
            wcs = self._header_wcs(place) if source == "header" else self._pointing_wcs(place, values)
            if wcs is not None:
                return wcs
        return None

    def _header_wcs(self, place: Place) -> WCS | None:
        detector, headers = place.plan.value, place.headers
        header = headers.hdus[headers.own].header
        if not has_sky(header):
            return None
        shape = (detector.n_rows, detector.n_columns)
        return read_header_wcs(headers.path, header, shape, self._shift(place))

    def _pointing_wcs(self, place: Place, values: Mapping[str, Any]) -> WCS | None:
        names = ("tracking_ra", "tracking_dec", "sky_angle_deg")
        pointing = [values[name] for name in names if values.get(name) is not None]
        if len(pointing) < len(names):
            return None
        ra, dec, sky_angle_deg = pointing
        return self.boresight_wcs(ra, dec, sky_angle_deg, place.plan.value.detector)

    def _shift(self, place: Place) -> tuple[int, int]:
        """Columns and rows before the image in the pixels that the header's coordinates count."""
        if self.plan.wcs_pixels == "assembled":
            return 0, 0
        amplifiers = place.plan.amplifiers
        sections = read_sections(amplifiers, place.amplifier_headers)
        shared = sections if place.share_hdu else sections[:1]
        shifts = {(s.data.x0 - s.assembled.x0, s.data.y0 - s.assembled.y0) for s in shared}
        corners = {plan.corner(s) for plan, s in zip(amplifiers, shared, strict=False)}
        if len(shifts) > 1 or corners != {"LL"}:
            found = f"moved by {sorted(shifts)} and read from {sorted(corners)}"
            message = (
                f"{place.headers.path}: with [wcs] pixels = 'stored' the data of the amplifiers must stand "
                f"in the file as in the image, found them {found}"
            )
            raise FormatError(message, path=str(place.headers.path))
        return shifts.pop()

    def _sections(self, place: Place) -> list[Sections]:
        """Return the sections of the amplifiers in the raw image; FormatError if they do not fit it."""
        path, detector = place.headers.path, place.plan.value
        found, offset = [], 0
        for index, own in enumerate(read_sections(place.plan.amplifiers, place.amplifier_headers)):
            n_rows, n_columns = image_shape(path, place.headers.hdus, place.headers_of(index).own)
            for name, section in (("data", own.data), *own.blind.items()):
                if section.y1 > n_rows or section.x1 > n_columns:
                    message = (
                        f"{path}: {name} {section} of amplifier {own.name!r} must lie in its HDU of "
                        f"{n_rows} rows and {n_columns} columns"
                    )
                    raise FormatError(message, path=str(path), amplifier=own.name)
            found.append(own.shifted(offset))
            offset += 0 if place.share_hdu else n_columns
        problem = tile_problem(found, (detector.n_rows, detector.n_columns), share_hdu=place.share_hdu)
        if problem:
            raise FormatError(f"{path}: {problem}", path=str(path))
        return found


def _amplifier_readings(plan: AmplifierPlan, headers: Headers) -> list[Reading]:
    """Tell how one amplifier is read."""
    readings = [quantity.read(headers) for quantity in plan.values.values()]
    for source in plan.section_sources:
        try:
            value = str(source.read(headers))
            readings.append(Reading(source.name, source.key or "constant", value=value))
        except FormatError as exc:
            problem = str(exc).removeprefix(f"{headers.path}: ")
            readings.append(Reading(source.name, source.key, problem=problem))
    return [dataclasses.replace(reading, name=f"{plan.name}.{reading.name}") for reading in readings]


def _mosaic(place: Place) -> NDArray[Any]:
    """Pixels of a detector: of its HDU, or of those of its amplifiers side by side, shape (ny, nx)."""
    path, hdus = place.headers.path, place.headers.hdus
    images = [read_image(path, hdus, index) for index in place.hdus]
    if len({image.shape[0] for image in images}) > 1:
        found = ", ".join(str(image.shape[0]) for image in images)
        message = (
            f"{path}: the amplifiers of detector {place.plan.value.name} must have equal numbers of rows, "
            f"found {found}"
        )
        raise FormatError(message, path=str(path))
    return images[0] if len(images) == 1 else np.hstack(images)
