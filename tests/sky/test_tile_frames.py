"""The part of a tile that images cover."""

import numpy as np
import pytest
from astropy.wcs import WCS

from astra.sky.sky_tiles import SkyTiles
from astra.sky.tile_frames import covered_frame

TILE = SkyTiles(9, 0.5, 50.0).tile(12345)


def image_at(x, y, shape=(100, 150), scale_arcsec=0.5, angle_deg=20.0):
    """WCS and shape of an image whose middle lies at a pixel of the tile."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [float(one) for one in TILE.wcs.all_pix2world(x, y, 0)]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = turn @ np.diag([-scale_arcsec, scale_arcsec]) / 3600.0
    return wcs, shape


def corners(image):
    wcs, (ny, nx) = image
    return TILE.wcs.all_world2pix(
        *wcs.all_pix2world([-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5], 0), 0
    )


def test_a_frame_holds_its_images_and_not_much_more():
    images = [image_at(500.0, 700.0), image_at(620.0, 650.0, angle_deg=-35.0)]
    frame = covered_frame(TILE, images, margin_pixel=10)
    x, y = np.concatenate([corners(image) for image in images], axis=1)
    (y0, x0), (ny, nx) = frame.corner, frame.shape
    for low, first, last, high in (
        (x0, x.min(), x.max(), x0 + nx - 1),
        (y0, y.min(), y.max(), y0 + ny - 1),
    ):
        assert 9.0 < first - low < 14.0
        assert 9.0 < high - last < 14.0


def test_its_pixels_are_those_of_the_tile():
    frame = covered_frame(TILE, [image_at(500.0, 700.0)])
    (y0, x0) = frame.corner
    whole, part = TILE.wcs.all_pix2world(x0 + 7.0, y0 + 9.0, 0), frame.wcs.all_pix2world(7.0, 9.0, 0)
    np.testing.assert_allclose(part, whole, rtol=0, atol=1e-11)


def test_it_ends_where_the_tile_ends():
    ny, nx = TILE.shape
    frame = covered_frame(TILE, [image_at(0.0, 0.0), image_at(nx - 1.0, ny - 1.0)])
    assert (frame.corner, frame.shape) == ((0, 0), TILE.shape)


@pytest.mark.parametrize("place", [(-300.0, 700.0), (500.0, -300.0)])
def test_an_image_beside_the_tile_does_not_count(place):
    assert covered_frame(TILE, [image_at(*place)]) is None
    both = covered_frame(TILE, [image_at(*place), image_at(500.0, 700.0)])
    assert both.shape == covered_frame(TILE, [image_at(500.0, 700.0)]).shape
    assert covered_frame(TILE, []) is None


def test_an_image_on_the_other_side_of_the_sky_does_not_count():
    wcs, shape = image_at(500.0, 700.0)
    ra, dec = wcs.wcs.crval
    wcs.wcs.crval = [(ra + 180.0) % 360.0, -dec]
    assert covered_frame(TILE, [(wcs, shape)]) is None
