"""Regions of visits: every corner of every detector is inside, at the pole and across RA 0 too."""

import math

import numpy as np
import pytest
from lsst.sphgeom import LonLat, UnitVector3d

from astra.errors import MissingDataError
from astra.sky.regions import ARCSEC_PER_RADIAN, contains, convex_hull
from astra.sky.visit_regions import (
    RawCorners,
    RegionConfig,
    SingleRawWcs,
    calibrated_regions,
    corners_region,
    image_border,
    image_region,
    same_region,
)
from tests.sky.mosaic import Drifting, Mosaic, snap

POINTINGS = [(12.5, -30.0), (0.0, 0.0), (359.999, 45.0), (77.0, 90.0), (200.0, -89.97), (0.01, 89.9)]


def holds(region, ra, dec):
    """Whether sphgeom finds each position inside a region."""
    return [
        region.contains(UnitVector3d(LonLat.fromDegrees(float(a) % 360.0, float(d))))
        for a, d in zip(ra, dec, strict=True)
    ]


def border(wcs, detector, padding=0.0, n_edge=1):
    """Sky of points on the border of a detector's image."""
    return wcs.all_pix2world(*image_border((detector.n_rows, detector.n_columns), padding, n_edge), 0)


def raw_regions(exposure, detectors=Mosaic.detectors):
    """Region of each raw image of an exposure, from its header's WCS."""
    pointing = exposure.tracking_ra, exposure.tracking_dec, exposure.sky_angle
    return {
        detector.detector: convex_hull(
            *border(Mosaic().boresight_wcs(*pointing, detector.detector), detector)
        )
        for detector in detectors
    }


@pytest.mark.parametrize(("ra", "dec"), POINTINGS)
@pytest.mark.parametrize("algorithm", [SingleRawWcs, RawCorners])
def test_all_corners_of_all_detectors_are_inside_with_the_margin(ra, dec, algorithm):
    exposure = snap(1, tracking_ra=ra, tracking_dec=dec)
    raws = {exposure.exposure: raw_regions(exposure)}
    found = algorithm().find_regions(Mosaic(), [exposure], raws, RegionConfig())
    assert set(found.detectors) == {0, 1, 7}
    for detector in Mosaic.detectors:
        wcs = Mosaic().boresight_wcs(ra, dec, exposure.sky_angle, detector.detector)
        for region in (found.detectors[detector.detector], found.region):
            assert all(holds(region, *border(wcs, detector)))
            assert all(holds(region, *border(wcs, detector, 250.0)))
            assert all(holds(region, *border(wcs, detector, 250.0, n_edge=16)))


@pytest.mark.parametrize(("ra", "dec"), POINTINGS)
def test_regions_of_pointings_are_no_larger_than_they_must(ra, dec):
    exposure = snap(1, tracking_ra=ra, tracking_dec=dec)
    found = SingleRawWcs().find_regions(Mosaic(), [exposure], {}, RegionConfig(padding_pixel=10))
    for detector in Mosaic.detectors:
        wcs = Mosaic().boresight_wcs(ra, dec, exposure.sky_angle, detector.detector)
        outside = border(wcs, detector, 10.01, n_edge=16)
        assert not any(holds(found.detectors[detector.detector], *outside))


def test_the_region_of_a_detector_that_is_alone_is_that_of_the_visit():
    exposure = snap(1)
    raws = {exposure.exposure: raw_regions(exposure, Mosaic.detectors[:1])}
    found = RawCorners().find_regions(Drifting(), [exposure], raws, RegionConfig())
    assert same_region(found.region, found.detectors[0])


def test_without_geometry_the_raws_say_where_they_are():
    exposure = snap(1, tracking_ra=None)
    raws = {exposure.exposure: raw_regions(snap(1), Mosaic.detectors[1:])}
    for algorithm in (SingleRawWcs(), RawCorners()):
        found = algorithm.find_regions(Drifting(), [exposure], raws, RegionConfig(padding_pixel=0))
        assert found.source == "raw-corners"
        assert dict(found.detectors) == raws[exposure.exposure]
        assert not algorithm.needs_tracking(Drifting())


def test_exposures_that_cannot_be_placed_are_named():
    with pytest.raises(MissingDataError, match=r"exposure 2022040500001 of mosaic"):
        RawCorners().find_regions(Drifting(), [snap(1)], {}, RegionConfig())
    with pytest.raises(MissingDataError, match="does not say where the telescope pointed"):
        SingleRawWcs().find_regions(Mosaic(), [snap(1, sky_angle=None)], {}, RegionConfig())
    assert SingleRawWcs().needs_tracking(Mosaic())


@pytest.mark.parametrize("algorithm", [SingleRawWcs, RawCorners])
def test_a_visit_lies_where_its_first_exposure_does_unless_all_are_merged(algorithm):
    first, second = snap(1, tracking_ra=12.5), snap(2, tracking_ra=12.6)
    raws = {exposure.exposure: raw_regions(exposure) for exposure in (first, second)}

    def regions(exposures, merge):
        config = RegionConfig(padding_pixel=5, merge_exposures=merge)
        return algorithm().find_regions(Mosaic(), exposures, raws, config)

    alone, plain, merged = (
        regions([first], False),
        regions([first, second], False),
        regions([first, second], True),
    )
    assert plain == alone
    for detector in Mosaic.detectors:
        for exposure in (first, second):
            wcs = Mosaic().boresight_wcs(exposure.tracking_ra, -30.0, 17.0, detector.detector)
            corners = border(wcs, detector, 5.0)
            assert all(holds(merged.detectors[detector.detector], *corners))
            assert all(holds(merged.region, *corners))
            assert all(holds(plain.detectors[detector.detector], *corners)) == (exposure is first)


def test_a_detector_that_the_first_exposure_lacks_is_taken_from_another():
    first, second = snap(1), snap(2, tracking_ra=12.6)
    raws = {
        first.exposure: raw_regions(first, Mosaic.detectors[:2]),
        second.exposure: raw_regions(second, Mosaic.detectors[1:]),
    }
    found = RawCorners().find_regions(Drifting(), [first, second], raws, RegionConfig(padding_pixel=0))
    assert found.detectors == {**raws[second.exposure], **raws[first.exposure]}


def test_points_between_corners_hold_a_distorted_image():
    detector = Mosaic.detectors[0]
    wcs = Mosaic().boresight_wcs(12.5, -30.0, 0.0, 0)

    def barrel(x, y):
        bulge = 1.0 + 0.02 * (1.0 - ((x - 150) / 150) ** 2) * (1.0 - ((y - 200) / 200) ** 2 * 0.5)
        return wcs.all_pix2world(150 + (x - 150) * 1.0, 200 + (y - 200) * bulge, 0)

    shape = (detector.n_rows, detector.n_columns)
    dense = barrel(*image_border(shape, 0.0, 64))
    corners, more = (image_region(barrel, shape, 0.0, n_edge=n_edge) for n_edge in (1, 64))
    assert not contains(corners, *dense).all()
    assert all(holds(more, *dense))


def test_border_goes_round_a_dilated_image():
    x, y = image_border((3, 5), 1.0, 2)
    assert x.tolist() == [-1.5, 2.0, 5.5, 5.5, 5.5, 2.0, -1.5, -1.5]
    assert y.tolist() == [-1.5, -1.5, -1.5, 1.0, 3.5, 3.5, 3.5, 1.0]


def test_regions_are_the_same_within_a_tolerance_wherever_they_begin():
    ra, dec = np.array([10.0, 10.2, 10.2, 10.0]), np.array([-1.0, -1.0, -0.9, -0.9])
    region = convex_hull(ra, dec)
    shift = math.degrees(1.0 / ARCSEC_PER_RADIAN)
    assert same_region(region, convex_hull(np.roll(ra, 2), np.roll(dec, 2)))
    assert same_region(region, convex_hull(ra, dec + 1e-5 * shift))
    assert not same_region(region, convex_hull(ra, dec + 1e-2 * shift))
    assert not same_region(region, convex_hull(ra[:3], dec[:3]))


def test_an_image_without_a_sky_has_no_region():
    assert corners_region(np.full((4, 2), np.nan)) is None
    corners = [[10.0, 0.0], [10.1, 0.0], [10.1, 0.1], [10.0, 0.1]]
    assert same_region(corners_region(corners), convex_hull(*np.transpose(corners)))


def test_fitted_wcss_and_corners_make_regions():
    wcs = Mosaic().boresight_wcs(12.5, -30.0, 17.0, 0)
    corners = np.column_stack(border(wcs, Mosaic.detectors[0]))
    solutions = {0: wcs, 1: corners, 2: None, 3: np.full((4, 2), np.nan)}
    found = calibrated_regions(solutions, {0: (400, 300)}, 20.0)
    assert set(found) == {0, 1}
    assert all(holds(found[0], *border(wcs, Mosaic.detectors[0], 20.0, n_edge=16)))
    assert not any(holds(found[0], *border(wcs, Mosaic.detectors[0], 20.01, n_edge=16)))
    assert same_region(found[1], convex_hull(*corners.T))
