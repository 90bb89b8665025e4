import numpy as np
import pytest
from astropy.wcs import WCS

from astra.sky.healpix import healpix_pixels, healpix_points
from astra.sky.regions import unit_vectors
from astra.sky.sky_tiles import SkyTiles, sky_tiles

TILES = SkyTiles(order=7, pixel_scale_arcsec=2.0, overlap_arcsec=60.0)  # some 1200 x 1200 pixels
PLACES = [
    (0.0, 0.0),
    (359.999, 0.02),
    (10.0, 41.8),
    (123.0, -41.81),
    (45.0, 88.7),
    (200.0, 90.0),
    (77.0, -90.0),
]


def make_wcs(ra, dec, scale_arcsec, angle_deg=0.0, shape=(0, 0)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    wcs.wcs.cd = np.array([[-cosine, sine], [sine, cosine]]) * scale_arcsec / 3600
    return wcs


def separation_arcsec(a, b):
    return np.rad2deg(2 * np.arcsin(0.5 * np.linalg.norm(a - b, axis=-1))) * 3600


def border(number, order, n=40):
    step, zero, one = np.linspace(0, 1, n), np.zeros(n), np.ones(n)
    return healpix_points(
        number, order, np.concatenate([step, one, step, zero]), np.concatenate([zero, step, one, step])
    )


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_a_tile_holds_its_healpix_pixel_and_the_margin(ra, dec):
    tile = TILES.tile(int(TILES.numbers_at(ra, dec)[0]))
    ny, nx = tile.shape
    edges = np.concatenate(
        [np.array([np.full(200, edge), np.linspace(-0.5, ny - 0.5, 200)]) for edge in (-0.5, nx - 0.5)]
        + [np.array([np.linspace(-0.5, nx - 0.5, 200), np.full(200, edge)]) for edge in (-0.5, ny - 0.5)],
        axis=1,
    )
    outside = unit_vectors(*tile.wcs.wcs_pix2world(*edges, 0))
    inside = unit_vectors(*border(tile.number, TILES.order))
    nearest = separation_arcsec(outside[:, None], inside[None]).min()
    assert TILES.overlap_arcsec <= nearest < TILES.overlap_arcsec + 4 * TILES.pixel_scale_arcsec


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_neighbours_overlap_by_at_least_the_margin_on_either_side_of_their_border(ra, dec):
    tile = TILES.tile(int(TILES.numbers_at(ra, dec)[0]))
    lon, lat = border(tile.number, TILES.order, 10)
    for x, y in zip(lon, lat, strict=True):
        circle = np.linspace(0, 2 * np.pi, 30)
        radius = 0.999 * TILES.overlap_arcsec / 3600
        frame = make_wcs(x, y, 1.0)
        around = frame.wcs_pix2world(3600 * radius * np.cos(circle), 3600 * radius * np.sin(circle), 0)
        for number in np.unique(TILES.numbers_at(*around)):
            other = TILES.tile(int(number))
            found = np.array(other.wcs.wcs_world2pix(*around, 0))
            assert (found > -0.5).all()
            assert (found[0] < other.shape[1] - 0.5).all()
            assert (found[1] < other.shape[0] - 0.5).all()


def test_tiles_have_north_up_and_the_pixel_scale():
    tile = TILES.tile(int(TILES.numbers_at(33.0, -12.0)[0]))
    ra, dec = (float(a) for a in healpix_points(tile.number, TILES.order))
    x, y = (float(a) for a in tile.wcs.wcs_world2pix(ra, dec, 0))
    assert (x, y) == pytest.approx((round(x), round(y)), abs=1e-6)
    up, left = tile.wcs.wcs_pix2world(x, y + 1, 0), tile.wcs.wcs_pix2world(x - 1, y, 0)
    assert 3600 * (up[1] - dec) == pytest.approx(2.0, rel=1e-6)
    assert float(up[0]) == pytest.approx(ra, abs=1e-9)
    assert 3600 * (left[0] - ra) * np.cos(np.deg2rad(dec)) == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize(("ra", "dec"), PLACES)
@pytest.mark.parametrize(
    ("order", "angle_deg", "shape"),
    [(7, 0.0, (300, 410)), (7, 33.0, (2000, 1500)), (11, 33.0, (700, 500)), (4, 5.0, (90, 120))],
)
def test_every_pixel_of_a_detector_is_in_a_tile_of_its_list(ra, dec, order, angle_deg, shape):
    tiles = SkyTiles(order, 2.0, 20.0)
    wcs = make_wcs(ra, dec, 2.0, angle_deg, shape)
    numbers = tiles.overlapping(wcs, shape)
    assert numbers == sorted(set(numbers))
    step = max(shape) // 150 + 1
    y, x = np.mgrid[: shape[0] : step, : shape[1] : step]
    found = np.array(wcs.wcs_pix2world(x.ravel(), y.ravel(), 0))
    owners = tiles.numbers_at(*found)
    assert set(owners.tolist()) <= set(numbers)
    # None is there in vain, but for the two pixels round the image.
    y, x = np.mgrid[-3 : shape[0] + 3, -3 : shape[1] + 3]
    y, x = (axis[(np.minimum(x, y) < 1) | (x > shape[1] - 2) | (y > shape[0] - 2)] for axis in (y, x))
    rim = tiles.numbers_at(*wcs.wcs_pix2world(x, y, 0))
    assert set(numbers) <= set(owners.tolist()) | set(rim.tolist())


@pytest.mark.parametrize(("ra", "dec"), PLACES)
def test_all_tiles_whose_pixels_a_detector_touches_are_told(ra, dec):
    tiles, shape = SkyTiles(7, 2.0, 200.0), (300, 410)
    wcs = make_wcs(ra, dec, 2.0, 20.0, shape)
    touched = tiles.touching(wcs, shape)
    assert set(tiles.overlapping(wcs, shape)) <= set(touched)
    y, x = np.mgrid[: shape[0] : 7, : shape[1] : 7]
    sky = wcs.wcs_pix2world(x.ravel(), y.ravel(), 0)
    near = make_wcs(ra, dec, 200.0)
    y, x = np.mgrid[-50:51, -50:51]
    wide = np.unique(tiles.numbers_at(*near.wcs_pix2world(x.ravel(), y.ravel(), 0)))
    for number in wide:
        tile = tiles.tile(int(number))
        column, row = tile.wcs.wcs_world2pix(*sky, 0)
        on_tile = (
            (column > -0.5) & (row > -0.5) & (column < tile.shape[1] - 0.5) & (row < tile.shape[0] - 0.5)
        )
        if on_tile.any():
            assert number in touched
    assert len(touched) < len(wide)


def test_each_pixel_belongs_to_one_tile():
    tiles = SkyTiles(9, 4.0, 40.0)
    wcs, shape = make_wcs(0.0, 90.0, 4.0, shape=(400, 300)), (400, 300)
    owned = 0
    for number in tiles.overlapping(wcs, shape):
        tile = tiles.tile(number)
        y, x = np.nonzero(tiles.inner(tile))
        assert len(x) * 4.0**2 == pytest.approx(4 * np.pi / tiles.n_tiles * 206264.8**2, rel=0.01)
        column, row = wcs.wcs_world2pix(*tile.wcs.wcs_pix2world(x, y, 0), 0)
        owned += np.sum((column >= -0.5) & (column < 299.5) & (row >= -0.5) & (row < 399.5))
    assert owned == pytest.approx(400 * 300, rel=2e-3)


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.263, 0.396, 2.75])
def test_tiles_chosen_by_scale_fit_into_memory(scale):
    tiles = sky_tiles(scale)
    assert tiles.overlap_arcsec == pytest.approx(100 * scale)
    numbers = np.random.default_rng(0).integers(0, tiles.n_tiles, 40).tolist()
    shapes = np.array([tiles.tile(n).shape for n in [*numbers, 0, 4**tiles.order - 1]])
    assert np.sqrt(shapes.prod(axis=1)).max() < 4800
    assert np.sqrt(shapes.prod(axis=1)).max() > 2000


def test_the_region_is_the_outline():
    tile = TILES.tile(5000)
    x, y = np.array([0.0, 50.0, -5.0]), np.array([0.0, 50.0, 50.0])
    ra, dec = np.deg2rad(tile.wcs.wcs_pix2world(x, y, 0))
    assert tile.region.contains(ra, dec).tolist() == [True, True, False]


@pytest.mark.parametrize("number", [-1, 12 * 4**7])
def test_numbers_out_of_range_are_refused(number):
    with pytest.raises(ValueError, match="are from 0 to 196607"):
        TILES.tile(number)


@pytest.mark.parametrize("arguments", [(30, 1.0, 1.0), (5, 0.0, 1.0), (5, 1.0, -1.0)])
def test_senseless_maps_are_refused(arguments):
    with pytest.raises(ValueError, match="found"):
        SkyTiles(*arguments)


def test_an_overlap_beyond_a_tile_needs_an_order():
    with pytest.raises(ValueError, match="name the order"):
        sky_tiles(0.2, overlap_arcsec=600.0)
    assert sky_tiles(0.2, order=6, overlap_arcsec=600.0).order == 6


def test_a_wcs_without_positions_is_refused():
    wcs = make_wcs(10.0, 10.0, 1e4)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN"]
    with pytest.raises(ValueError, match="finite"):
        TILES.overlapping(wcs, (100, 100))


def test_centres_lie_in_their_pixels():
    numbers = np.arange(12 * 16)
    assert (healpix_pixels(*healpix_points(numbers, 2), 2) == numbers).all()
