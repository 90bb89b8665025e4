"""Where the detectors of a camera stand in one of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from astra.errors import FormatError, MissingDataError
from astra.instruments.camera_tables import CameraPlan
from astra.instruments.detector_tables import DetectorPlan
from astra.instruments.headers import Headers, image_hdu, image_shape, require_hdu
from astra.instruments.quantities import matches, require_value


@dataclass(frozen=True)
class Place:
    """Where a detector stands in an open file.

    Parameters
    ----------
    plan : DetectorPlan
        Which detector.
    hdus : tuple of int
        Numbers of its HDUs: one, or one for each amplifier.
    headers : Headers
        Those that bear on it.
    """

    plan: DetectorPlan
    hdus: tuple[int, ...]
    headers: Headers

    def headers_of(self, index: int) -> Headers:
        """Return the headers that bear on one of the amplifiers."""
        return self.headers if len(self.hdus) == 1 else self.headers.at(self.hdus[index])

    @property
    def amplifier_headers(self) -> list[Headers]:
        """Headers that bear on each of the amplifiers."""
        return [self.headers_of(index) for index in range(len(self.plan.amplifiers))]

    @property
    def share_hdu(self) -> bool:
        """Whether the amplifiers stand in one HDU."""
        return len(self.hdus) == 1


class PlaceFinder:
    """Finds the detectors of a camera in a file.

    Parameters
    ----------
    plan : CameraPlan
        What the camera's file says.
    """

    def __init__(self, plan: CameraPlan) -> None:
        self._name, self._files, self._detectors = plan.name, plan.files, plan.detectors
        self._plans = {detector.value.detector: detector for detector in plan.detectors}

    def find(self, path: Path, hdus: fits.HDUList) -> list[Place]:
        """Return where the detectors stand in an open file; FormatError if it is no raw of the camera."""
        files = self._files
        first = require_hdu(path, hdus, files.hdu) if files.layout == "detector" else 0
        headers = Headers(path, hdus, first)
        self._require_cards(headers)
        if files.layout == "detector":
            image_shape(path, hdus, first)
            return [Place(self._only_detector(headers), (first,), headers)]
        if files.detector is not None:
            places = list(self._numbered_places(headers))
        else:
            places = list(self._named_places(headers))
        if not places:
            message = f"{path} holds none of the {len(self._detectors)} detectors of {self._name}"
            raise FormatError(message, path=str(path))
        return places

    def _require_cards(self, headers: Headers) -> None:
        for key, wanted in self._files.require.items():
            card = headers.find(key)
            if card is None or not matches(card.value, wanted):
                found = "nothing" if card is None else repr(card.value)
                value = None if card is None else str(card.value)
                expected = f"{wanted!r} in a raw of {self._name}"
                message = f"{headers.path}: header key {key} must be {expected}, found {found}"
                raise FormatError(message, path=str(headers.path), key=key, value=value)

    def _only_detector(self, headers: Headers) -> DetectorPlan:
        """Return the detector of a file that holds one."""
        quantity = self._files.detector
        if quantity is None:
            return self._detectors[0]
        number = require_value(headers.path, quantity.read(headers))
        if number not in self._plans:
            known = ", ".join(map(str, self._plans))
            reading = quantity.read(headers)
            message = (
                f"{headers.path}: header key {reading.source} must be a detector of {self._name} ({known}), "
                f"found {number}"
            )
            raise FormatError(message, path=str(headers.path), key=reading.source, value=str(reading.raw))
        return self._plans[number]

    def _numbered_places(self, headers: Headers) -> list[Place]:
        """Return the extensions whose headers name a detector of the camera; others hold other things."""
        quantity, found = self._files.detector, {}
        for index in range(1, len(headers.hdus)):
            own = headers.at(index)
            reading = None if quantity is None else quantity.read(own)
            plan = self._plans.get(-1 if reading is None or reading.problem else reading.value)
            # A number in the primary header would be that of every extension.
            if reading is None or plan is None or reading.hdu == "0":
                continue
            if plan.value.detector in found:
                message = f"{headers.path}: detector {reading.value} must stand in one extension, found two"
                raise FormatError(message, path=str(headers.path), key=reading.source)
            image_shape(headers.path, headers.hdus, index)
            found[plan.value.detector] = Place(plan, (index,), own)
        return list(found.values())

    def _named_places(self, headers: Headers) -> list[Place]:
        """Return the detectors whose HDUs are in the file."""
        places = []
        for plan in self._detectors:
            indices = [image_hdu(headers.hdus, hdu) for hdu in plan.hdus]
            there = tuple(index for index in indices if index is not None)
            if not there:
                continue
            if len(there) < len(indices):
                missing = plan.hdus[indices.index(None)]
                message = f"{headers.path} has no HDU {missing!r}, an amplifier of detector {plan.value.name}"
                raise MissingDataError(message, path=str(headers.path), hdu=missing)
            for index in there:
                image_shape(headers.path, headers.hdus, index)
            places.append(Place(plan, there, headers.at(there[0])))
        return places
