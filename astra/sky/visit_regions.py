"""Where visits and their detectors lie on the sky.

A region is the convex hull of the corners of a detector's image, which is dilated by a margin first, so that
it holds what a pointing that is somewhat wrong, or a search with a margin, may need. The region of a visit is
the convex hull of those of its detectors.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from lsst.sphgeom import ConvexPolygon
from numpy.typing import ArrayLike, NDArray

from astra.errors import MissingDataError
from astra.sky.regions import ARCSEC_PER_RADIAN, convex_hull, dilate, hull_of_regions
from astra.sky.visits import ExposureRecord

PADDING_PIXEL = 250
REGION_TOLERANCE_ARCSEC = 2e-4  # 1e-9 rad: below it two regions are the same
EDGE_PARTS = 8  # of each edge of an image with a distorted WCS
ROUND_OFF_PIXEL = 1e-6  # added to the padding, so that the corners themselves are inside

CALIBRATED = "calibrated"
"""Source of regions that come from fitted WCSs."""

ToSky = Callable[[NDArray[np.float64], NDArray[np.float64]], Sequence[NDArray[np.float64]]]
"""Turns 0-based x, y [pixel] into ra, dec [deg]."""

RawRegions = Mapping[int, Mapping[int, ConvexPolygon]]
"""Region of each detector's raw image, by exposure and detector."""


class DetectorLike(Protocol):
    """What is needed of a detector: its number and the size of its image [pixel]."""

    @property
    def detector(self) -> int:
        """Identifier."""

    @property
    def n_rows(self) -> int:
        """Height [pixel]."""

    @property
    def n_columns(self) -> int:
        """Width [pixel]."""


class CameraLike(Protocol):
    """What is needed of a camera; see `astra.instruments.base.Instrument`."""

    @property
    def detectors(self) -> Sequence[DetectorLike]:
        """Its detectors."""

    @property
    def pixel_scale_arcsec(self) -> float:
        """Scale [arcsec/pixel]."""

    def boresight_wcs(self, ra: float, dec: float, sky_angle_deg: float, detector: int) -> Any:
        """WCS of a detector for a pointing; None if the camera has no such geometry."""


@dataclass(frozen=True)
class RegionConfig:
    """How regions are made.

    Parameters
    ----------
    padding_pixel : int
        Margin by which each detector's image is dilated [pixel].
    merge_exposures : bool
        Whether the regions of a visit hold all its exposures, and not only the first.
    """

    padding_pixel: int = PADDING_PIXEL
    merge_exposures: bool = False


@dataclass(frozen=True)
class VisitRegions:
    """Where a visit lies on the sky.

    Parameters
    ----------
    detectors : mapping
        Detector to region.
    source : str
        Name of the algorithm.
    """

    detectors: Mapping[int, ConvexPolygon]
    source: str

    @property
    def region(self) -> ConvexPolygon:
        """Convex hull of the regions of all detectors."""
        return hull_of_regions(list(self.detectors.values()))


class VisitRegionAlgorithm(ABC):
    """A way to find where a visit lies on the sky."""

    @abstractmethod
    def needs_tracking(self, camera: CameraLike) -> bool:
        """Whether an exposure of this camera that does not say where the telescope pointed is of no use."""

    @abstractmethod
    def find_regions(
        self,
        camera: CameraLike,
        exposures: Sequence[ExposureRecord],
        raw_regions: RawRegions,
        config: RegionConfig,
    ) -> VisitRegions:
        """Find the regions of a visit.

        Parameters
        ----------
        camera : CameraLike
            The camera.
        exposures : sequence of ExposureRecord
            What makes the visit, in order of time.
        raw_regions : mapping
            Region of each raw image, by exposure and detector, where the headers have one.
        config : RegionConfig
            Margin, and what to do with several exposures.

        Raises
        ------
        MissingDataError
            If what is needed of the exposures is not there.
        """


class SingleRawWcs(VisitRegionAlgorithm):
    """From where the telescope pointed and the camera's geometry, for all detectors of the camera.

    A camera without geometry is treated as by `RawCorners`.
    """

    def needs_tracking(self, camera: CameraLike) -> bool:
        """Whether the camera has geometry."""
        return has_geometry(camera)

    def find_regions(
        self,
        camera: CameraLike,
        exposures: Sequence[ExposureRecord],
        raw_regions: RawRegions,
        config: RegionConfig,
    ) -> VisitRegions:
        """Find the regions; see `VisitRegionAlgorithm.find_regions`."""
        if not has_geometry(camera):
            return RawCorners().find_regions(camera, exposures, raw_regions, config)
        used = exposures if config.merge_exposures else exposures[:1]
        pointings = [camera_regions(camera, exposure, config.padding_pixel) for exposure in used]
        return VisitRegions(merge_regions(pointings), "single-raw-wcs")


class RawCorners(VisitRegionAlgorithm):
    """From the corners that the headers of the raws give, for the detectors that have raws."""

    def needs_tracking(self, camera: CameraLike) -> bool:
        """Say that it does not."""
        return False

    def find_regions(
        self,
        camera: CameraLike,
        exposures: Sequence[ExposureRecord],
        raw_regions: RawRegions,
        config: RegionConfig,
    ) -> VisitRegions:
        """Find the regions; see `VisitRegionAlgorithm.find_regions`."""
        found = [raw_regions.get(exposure.exposure, {}) for exposure in exposures]
        if not any(found):
            names = ", ".join(str(exposure.exposure) for exposure in exposures)
            message = (
                f"no raw of exposure {names} of {exposures[0].instrument} says where it lies on the sky, "
                f"and the camera has no geometry that would"
            )
            raise MissingDataError(message, exposures=[exposure.exposure for exposure in exposures])
        if not config.merge_exposures:  # the first exposure that has the detector
            found = [{detector: region for one in reversed(found) for detector, region in one.items()}]
        # The corner of a margin on both sides is further away than the margin.
        margin = math.sqrt(2.0) * config.padding_pixel * camera.pixel_scale_arcsec
        regions = merge_regions(found)
        if margin > 0.0:
            regions = {detector: dilate(region, margin) for detector, region in regions.items()}
        return VisitRegions(regions, "raw-corners")


def has_geometry(camera: CameraLike) -> bool:
    """Whether a camera knows where its detectors look for a pointing of the telescope."""
    detectors = camera.detectors
    return bool(detectors) and camera.boresight_wcs(0.0, 0.0, 0.0, detectors[0].detector) is not None


def camera_regions(
    camera: CameraLike, exposure: ExposureRecord, padding_pixel: float
) -> dict[int, ConvexPolygon]:
    """Return the region of each detector of a camera for one exposure's pointing.

    Raises
    ------
    MissingDataError
        If the exposure does not say where the telescope pointed.
    """
    ra, dec, angle = exposure.tracking_ra, exposure.tracking_dec, exposure.sky_angle
    if ra is None or dec is None or angle is None:
        message = (
            f"exposure {exposure.exposure} of {exposure.instrument} does not say where the telescope pointed"
        )
        raise MissingDataError(message, exposure=exposure.exposure)
    regions = {}
    for detector in camera.detectors:
        wcs = camera.boresight_wcs(ra, dec, angle, detector.detector)
        shape = (detector.n_rows, detector.n_columns)
        regions[detector.detector] = image_region(wcs_to_sky(wcs), shape, padding_pixel)
    return regions


def wcs_to_sky(wcs: Any) -> ToSky:
    """Return what turns 0-based pixels into the sky of an `astropy.wcs.WCS`."""

    def to_sky(x: NDArray[np.float64], y: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        found: Sequence[NDArray[np.float64]] = wcs.all_pix2world(x, y, 0)
        return found

    return to_sky


def image_region(
    to_sky: ToSky,
    shape: tuple[int, int],
    padding_pixel: float = PADDING_PIXEL,
    *,
    n_edge: int = 1,
) -> ConvexPolygon:
    """Return the convex polygon that holds an image, dilated by a margin.

    Parameters
    ----------
    to_sky : callable
        See `ToSky` and `wcs_to_sky`.
    shape : tuple of int
        ``(ny, nx)`` [pixel].
    padding_pixel : float, optional
        Margin [pixel].
    n_edge : int, optional
        Parts of each edge between which a point is taken too: 1 takes the corners, which is exact for a
        gnomonic projection. Distorted images need more.
    """
    x, y = image_border(shape, padding_pixel + ROUND_OFF_PIXEL, n_edge)
    return convex_hull(*to_sky(x, y))


def image_border(
    shape: tuple[int, int], padding_pixel: float = 0.0, n_edge: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points on the border of an image that is dilated by a margin, in order round it [pixel].

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` [pixel].
    padding_pixel : float, optional
        Margin [pixel].
    n_edge : int, optional
        Number of points of each edge: its first corner and equal steps from there.

    Returns
    -------
    x, y : float64 ndarray, shape (4 * n_edge,)
    """
    low = -0.5 - padding_pixel
    high_y, high_x = (size - 0.5 + padding_pixel for size in shape)
    corners = np.array([[low, low], [high_x, low], [high_x, high_y], [low, high_y]])
    steps = np.arange(n_edge)[:, None] / n_edge
    points = np.concatenate(
        [
            start + steps * (end - start)
            for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True)
        ]
    )
    return points[:, 0].copy(), points[:, 1].copy()


def merge_regions(regions: Sequence[Mapping[int, ConvexPolygon]]) -> dict[int, ConvexPolygon]:
    """Return the convex hull of each detector's regions in several exposures."""
    by_detector: dict[int, list[ConvexPolygon]] = {}
    for one in regions:
        for detector, region in one.items():
            by_detector.setdefault(detector, []).append(region)
    return {
        detector: some[0] if len(some) == 1 else hull_of_regions(some)
        for detector, some in by_detector.items()
    }


def calibrated_regions(
    solutions: Mapping[int, Any],
    shapes: Mapping[int, tuple[int, int]],
    padding_pixel: float = PADDING_PIXEL,
) -> dict[int, ConvexPolygon]:
    """Return the regions of detectors by their fitted WCSs.

    Parameters
    ----------
    solutions : mapping
        Detector to `astropy.wcs.WCS`, or to the sky of its corners, shape (n, 2) [deg], which is taken as
        it is. A detector without solution, None or not finite, is left out.
    shapes : mapping
        Detector to the shape ``(ny, nx)`` of its image [pixel], for each that has a WCS.
    padding_pixel : float, optional
        Margin by which each image with a WCS is dilated [pixel].
    """
    regions = {}
    for detector, solution in solutions.items():
        if solution is None:
            continue
        if hasattr(solution, "all_pix2world"):
            x, y = image_border(shapes[detector], padding_pixel + ROUND_OFF_PIXEL, EDGE_PARTS)
            solution = np.column_stack(wcs_to_sky(solution)(x, y))  # noqa: PLW2901
        region = corners_region(solution)
        if region is not None:
            regions[detector] = region
    return regions


def corners_region(corners: ArrayLike | None) -> ConvexPolygon | None:
    """Region of positions, shape (n, 2) [deg]; None without finite ones, as for a dome flat."""
    if corners is None:
        return None
    positions = np.asarray(corners, dtype=np.float64)
    return convex_hull(positions[:, 0], positions[:, 1]) if np.isfinite(positions).all() else None


def same_region(one: ConvexPolygon, other: ConvexPolygon) -> bool:
    """Whether the vertices of two polygons are the same within `REGION_TOLERANCE_ARCSEC`."""
    first, second = (
        np.array([[v.x(), v.y(), v.z()] for v in region.getVertices()]) for region in (one, other)
    )
    if first.shape != second.shape:
        return False
    # Each may begin with another vertex.
    offset = int(np.argmin(np.linalg.norm(second - first[0], axis=1)))
    distance = np.linalg.norm(np.roll(second, -offset, axis=0) - first, axis=1).max()
    return bool(distance * ARCSEC_PER_RADIAN <= REGION_TOLERANCE_ARCSEC)
