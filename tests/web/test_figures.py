"""Figures: what they draw is where it must be, is said in words, and is escaped."""

import re
import zlib

import numpy as np
import pytest
from markupsafe import Markup

from astra.alerts.reading import read_packets
from astra.database.pages.light_curves import LightPoint
from astra.web import formats, plots, svg
from astra.web.alert_cards import position_text
from astra.web.axes import Scale, round_values, span, tick_text
from astra.web.links import StaticLinks
from astra.web.mosaic import Mark, SkyPlane, Tile, draw_mosaic
from astra.web.pictures import PictureStore
from astra.web.pixels import (
    PNG_MAGIC,
    bin_to_side,
    difference_stretch,
    encode_png,
    sky_stretch,
    to_grey,
    turn_to_sky,
)
from astra.web.spectrum_plot import spectrum, thin
from astra.web.triptych import draw_triptych, make_triptych
from tests.alerts.simple import write
from tests.alerts.stamped import stamped
from tests.web.pages_night import HOSTILE, Page


def point(mjd, flux, *, err=10.0, band="r", forced=False, number=1):
    return LightPoint(forced, mjd, band, flux, err, None, None, None, None, 12, 3, number)


def pixels_of(png):
    """Greys of a PNG of ours."""
    assert png.startswith(PNG_MAGIC)
    chunks, place = {}, len(PNG_MAGIC)
    while place < len(png):
        length, kind = int.from_bytes(png[place : place + 4], "big"), png[place + 4 : place + 8]
        data = png[place + 8 : place + 8 + length]
        assert int.from_bytes(png[place + 8 + length : place + 12 + length], "big") == zlib.crc32(kind + data)
        chunks[kind] = data
        place += 12 + length
    nx, ny = (int.from_bytes(chunks[b"IHDR"][k : k + 4], "big") for k in (0, 4))
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(ny, nx + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_markup_is_made_of_escaped_parts_alone():
    made = svg.figure(10, 5, [svg.text(1, 2, HOSTILE), HOSTILE], title=HOSTILE, description=HOSTILE)
    assert isinstance(made, Markup)
    page = Page(str(made))
    assert page.tags == ["svg", "title", "desc", "text"]
    assert page.words.count(HOSTILE) == 4


def test_attributes_are_escaped_and_finite():
    assert str(svg.element("a", href='"><b>', x=float("nan"), y=1.0, z=None)) == (
        '<a href="&#34;&gt;&lt;b&gt;" x="0" y="1"/>'
    )


def test_a_line_breaks_where_a_value_is_missing():
    made = str(svg.path([(0, 0), (1, 1), (np.nan, 2), (3, 3), (4, 4)]))
    assert re.search(r'd="([^"]*)"', made)[1] == "M0 0L1 1M3 3L4 4"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]), (-3.0, 17.0, [0.0, 5.0, 10.0, 15.0]), (2.0, 2.0, [2.0])],
)
def test_ticks_are_round(low, high, expected):
    assert round_values(low, high, 4) == expected


def test_ticks_have_the_digits_that_they_need():
    assert [tick_text(v, 0.25) for v in (0.0, 0.25, -0.5)] == ["0.00", "0.25", "\N{MINUS SIGN}0.50"]
    assert [tick_text(v, 0.1) for v in (0.0, 0.1)] == ["0.0", "0.1"]
    assert tick_text(-1e-12, 1.0) == "0"
    assert tick_text(2500.0, 500.0) == "2500"


def test_a_range_of_one_value_or_none_has_a_width():
    assert span([5.0]) == (4.75, 5.25)
    assert span([np.nan]) == (0.0, 1.0)
    assert Scale(*span([0.0]), 0.0, 100.0)(0.0) == 50.0


def test_points_of_a_light_curve_are_at_their_flux_and_time():
    points = [point(60000.0, 0.0), point(60010.0, 1000.0, number=2), point(60005.0, 500.0, number=3)]
    made = str(plots.light_curve(points, name="7", marked=2))
    places = re.findall(r"translate\(([\d.]+) ([\d.]+)\)", made)[: len(points)]
    x, y = np.array(places, float).T
    assert x[1] - x[0] == pytest.approx(2 * (x[2] - x[0]), abs=0.03)
    assert y[0] - y[1] == pytest.approx(2 * (y[0] - y[2]), abs=0.03)
    assert y[0] > y[1]
    assert made.count('class="ring"') == 1
    assert "days from MJD 60010.0000 TAI" in made
    assert "3 detections and 0 forced fluxes in r" in made


def test_errors_limits_and_bands_of_a_light_curve_are_drawn():
    points = [
        point(60000.0, 900.0, band="g"),
        point(60001.0, 20.0, forced=True),
        point(60002.0, 400.0, forced=True),
        point(60003.0, -700.0, forced=True, band=HOSTILE),
        point(60004.0, None),
    ]
    made = str(plots.light_curve(points))
    Page(made)
    assert made.count('class="error"') == 4
    assert made.count("upper-limit") == 1  # that of 20 ± 10
    assert made.count("mark open") == 4  # three points and the legend
    assert HOSTILE not in made
    assert "AB mag" in made


def test_a_light_curve_without_a_flux_says_so():
    assert plots.NO_LIGHT_CURVE in plots.light_curve([])
    assert plots.NO_LIGHT_CURVE in plots.light_curve([point(60000.0, float("nan"))])


def test_magnitudes_stand_at_their_fluxes():
    made = str(plots.light_curve([point(60000.0, 10_000.0), point(60001.0, 0.0)], size=(400, 400)))
    ticks = dict(re.findall(r'y="([\d.]+)" text-anchor="start">([\d.]+)</text>', made))
    places = {float(mag): float(y) - 4 for y, mag in ticks.items()}
    (_, top), (_, zero) = sorted(
        re.findall(r"translate\(([\d.]+) ([\d.]+)\)", made)[:2], key=lambda p: float(p[1])
    )
    for mag, y in places.items():
        flux = 10 ** ((31.4 - mag) / 2.5)
        assert (float(zero) - y) / (float(zero) - float(top)) == pytest.approx(flux / 10_000.0, abs=0.01)
    assert len(places) >= 3


def test_a_series_has_its_thresholds_and_leads_to_its_visits():
    samples = [
        plots.Sample(60000.0 + k / 24, 1.0 + 0.1 * k, "g", f"visit {k}", f"v{k}.html") for k in range(4)
    ]
    made = str(
        plots.time_series(
            [*samples, plots.Sample(60000.0, None)], title="Seeing", unit="arcsec", warn=1.2, bad=9.0
        )
    )
    page = Page(made)
    assert [link for link in page.links if link] == [f"v{k}.html" for k in range(4)]
    assert made.count("warn-line") == 1
    assert made.count("bad-line") == 0  # far off
    assert "4 visits, from 1.00 to 1.30 arcsec" in made
    assert "not measured" in plots.time_series([], title="Seeing", unit="arcsec")


def test_a_trend_needs_three_values():
    assert plots.sparkline([1.0, None, 2.0], title="t") == ""
    assert "last: 1.00, 2.00, 3.00" in plots.sparkline([1.0, 2.0, 3.0], title="t")


def test_completeness_is_drawn_with_its_intervals():
    bins = [
        plots.EfficiencyBin(3.0, 5.0, 10, 4, 0.4, 0.25, 0.56),
        plots.EfficiencyBin(5.0, None, 20, 20, 1.0, 0.9, 1.0),
        plots.EfficiencyBin(1.0, 3.0, 0, 0, None, None, None),
    ]
    made = str(plots.efficiency(bins, title="t", label="S/N", marks=[(4.0, "here")], logarithmic=True))
    assert "24 of 30 injected sources found" in made
    assert [one for one in ("3", "5", "10") if f">{one}</text>" in made] == ["3", "5", "10"]
    assert made.count('class="fill"') == 2
    assert "no source was injected" in plots.efficiency(bins[2:], title="t", label="S/N")


def test_no_line_of_a_spectrum_is_lost_by_thinning():
    wavelength = np.concatenate([np.linspace(4000, 5000, 4000), np.linspace(5200, 6000, 3200)])
    flux = np.ones(7200)
    flux[[1234, 5678]] = 0.2, 9.0
    flux[3000:3100] = np.nan
    grid, shown = thin(wavelength, flux)
    assert len(grid) < 1000
    assert grid[np.nanargmin(shown)] == wavelength[1234]
    assert grid[np.nanargmax(shown)] == wavelength[5678]
    gaps = grid[~np.isfinite(shown)]
    assert ((gaps > 4990) & (gaps < 5201)).any()
    assert ((gaps > wavelength[3000] - 5) & (gaps < wavelength[3100])).any()


def test_a_spectrum_has_continuum_and_names_of_lines():
    wavelength = np.linspace(4000.0, 5000.0, 500)
    flux = np.full(500, 3.0)
    made = spectrum(
        wavelength,
        flux,
        np.ones(500, bool),
        title=HOSTILE,
        continuum=flux,
        lines=[(4861.0, "Hβ"), (9.0, "no")],
    )
    page = Page(str(made))
    assert "Hβ" in page.words
    assert "no" not in page.words
    assert str(made).count('class="second"') == 1
    assert "no pixel can be used" in spectrum(wavelength, flux, np.zeros(500, bool), title="t")


def test_blocks_keep_the_mean_of_what_has_data():
    rng = np.random.default_rng(3)
    image = rng.normal(5.0, 1.0, (90, 121))
    image[:20, :20] = np.nan
    binned = bin_to_side(image, 40)
    assert binned.shape == (23, 31)
    assert binned[10, 10] == pytest.approx(image[40:44, 40:44].mean(), rel=1e-6)
    assert np.isnan(binned[:5, :5]).all()
    assert bin_to_side(image, 121).shape == image.shape


def test_png_holds_the_greys_and_what_is_missing():
    image = np.array([[0.0, 10.0, np.nan], [5.0, -5.0, 1e9]])
    stretch = difference_stretch(image)
    assert stretch.low == -stretch.high
    grey = to_grey(image, stretch)
    assert (grey[0, 2], grey[1, 2]) == (0, 1)  # nothing is transparent, the brightest is black
    assert grey[1, 1] > grey[0, 0] > grey[1, 0] > grey[0, 1] >= 1
    assert grey[0, 0] == 128
    np.testing.assert_array_equal(pixels_of(encode_png(grey)), grey)


def test_nothing_to_stretch_is_no_error():
    empty = np.full((4, 6), np.nan)
    for stretch in (sky_stretch(empty), difference_stretch(empty), sky_stretch(np.zeros((4, 6)))):
        assert stretch.high > stretch.low
        assert not to_grey(empty, stretch).any()


@pytest.mark.parametrize(("angle_deg", "flipped"), [(0, False), (90, False), (215, False), (30, True)])
def test_stamps_are_turned_north_up_and_east_left(tmp_path, angle_deg, flipped):
    path = write(tmp_path, [stamped(angle_deg=angle_deg, flipped=flipped, star=(3.0, 2.0))])
    (packet,) = read_packets(path)
    store = PictureStore(tmp_path / "pictures")
    triptych = make_triptych(packet, store)
    grey = pixels_of(store.path(triptych.pictures["template"]).read_bytes()).astype(float)
    side, per_arcsec = len(grey), len(grey) / 2 / triptych.half_arcsec
    column, row = side / 2 - 3.0 * per_arcsec, side / 2 - 2.0 * per_arcsec
    dark = grey[int(row) - 2 : int(row) + 3, int(column) - 2 : int(column) + 3]
    opposite = grey[
        side - int(row) - 2 : side - int(row) + 3, side - int(column) - 2 : side - int(column) + 3
    ]
    assert dark.mean() < 60
    assert opposite.mean() > 150
    drawn = str(draw_triptych(triptych, StaticLinks(), title=HOSTILE))
    assert "north is up, east is left" in drawn
    assert re.search(r">(\d+|0\.\d)″<", drawn)
    assert Page(drawn).tags.count("image") == 3


def test_pixels_are_turned_by_the_inverse_of_the_matrix():
    image = np.zeros((9, 11), np.float32)
    image[6, 3] = 1.0
    turned = turn_to_sky(image, (5.0, 4.0), np.diag([-1.0, 1.0]), side_pixel=5, half_arcsec=2.5)
    assert np.argwhere(turned == 1.0).tolist() == [[0, 0]]  # 2 pixels to the east, 2 to the north
    assert np.isnan(
        turn_to_sky(image, (500.0, 4.0), np.diag([-1.0, 1.0]), side_pixel=5, half_arcsec=2.5)
    ).all()


def test_a_picture_is_made_once(tmp_path):
    made = []
    store = PictureStore(tmp_path / "a", max_bytes=10)

    def make():
        made.append(1)
        return b"0123456789"

    name = store.get(("a", 1), make)
    assert store.get(("a", 1), make) == name
    assert PictureStore(tmp_path / "a").get(("a", 1), make) == name
    assert PictureStore(tmp_path / "b", tmp_path / "a").get(("a", 1), make) == name
    assert len(made) == 1
    assert store.get(("a", 2), make) is None
    assert store.left_out == 1
    assert store.path(name) == tmp_path / "a" / name


@pytest.mark.parametrize(
    "name", ["../a.png", "a.png", "x" * 32 + ".png", "0" * 32 + ".png", "0" * 32 + ".png\n"]
)
def test_a_store_gives_nothing_but_its_pictures(tmp_path, name):
    assert PictureStore(tmp_path).path(name) is None


def corners(ra, dec, half=0.1):
    return np.array(
        [[ra + half, dec - half], [ra - half, dec - half], [ra - half, dec + half], [ra + half, dec + half]]
    )


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.0), (0.0, -30.0), (359.9999, 45.0), (12.0, 89.5)])
def test_on_the_plane_north_is_up_and_east_is_left(ra, dec):
    plane = SkyPlane([corners(ra, dec, 0.1)])
    here, north, east = plane(
        np.array([[ra, dec], [ra, dec + 0.01], [ra + 0.01 / np.cos(np.deg2rad(dec)), dec]])
    )
    assert north[1] < here[1]
    assert north[0] == pytest.approx(here[0], abs=0.05)
    assert east[0] < here[0]
    assert np.hypot(*(north - here)) == pytest.approx(36.0 * plane.arcsec, rel=1e-3)
    assert np.hypot(*(east - here)) == pytest.approx(36.0 * plane.arcsec, rel=1e-3)


def test_an_image_lies_on_the_corners_of_its_detector():
    tile = Tile("3", corners(150.0, 2.0), "a.png", "d.html", HOSTILE)
    made = str(
        draw_mosaic([tile], StaticLinks(), title="t", name="n", marks=[Mark(150.0, 2.0, hint=HOSTILE)])
    )
    page = Page(made)
    assert page.links == ["d.html", "pictures/a.png"]
    a, b, c, d, e, f = (float(v) for v in re.search(r"matrix\(([^)]*)\)", made)[1].split())
    outline = np.array([p.split(",") for p in re.search(r'points="([^"]*)"', made)[1].split()], float)
    first, second, third, last = outline
    np.testing.assert_allclose((e, f), last, atol=0.02)
    np.testing.assert_allclose((e + 100 * a, f + 100 * b), third, atol=0.02)
    np.testing.assert_allclose((e + 100 * c, f + 100 * d), first, atol=0.02)
    assert last[1] < first[1]  # higher y is north
    assert first[0] < second[0]  # lower x is east


def test_a_mosaic_of_nothing_says_so():
    assert "no detector has a position" in draw_mosaic([], StaticLinks(), title="t", name="n")


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (150.0, 2.5, "10:00:00.00 +02:30:00.0"),
        (359.99999999, -0.00001, "00:00:00.00 +00:00:00.0"),
        (12.0, -89.99999, "00:48:00.00 \N{MINUS SIGN}90:00:00.0"),
        (15.0, -10.50001, "01:00:00.00 \N{MINUS SIGN}10:30:00.0"),
    ],
)
def test_positions_are_rounded_as_a_whole(ra, dec, expected):
    assert position_text(ra, dec) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.00123, "0.00123"),
        (24.1119, "24.1"),
        (100.0, "100"),
        (1234.5, "1\N{THIN SPACE}234"),
        (None, formats.MISSING),
        (float("nan"), formats.MISSING),
        (0.0, "0"),
        (0, "0"),
        (-1.5, "\N{MINUS SIGN}1.50"),
        (1.2e-7, "1.20e\N{MINUS SIGN}07"),
    ],
)
def test_numbers_have_the_digits_that_count(value, expected):
    assert formats.significant(value) == expected


def test_times_are_read_in_utc():
    assert formats.mjd_time(60000.0 + 37.0 / 86400.0) == "00:00:00"
    assert formats.night_text(20261120) == "2026-11-20"
    assert [formats.seconds_text(s) for s in (5.0, 600.0, 90000.0, None)] == [
        "5.0 s",
        "10.0 min",
        "25.0 h",
        formats.MISSING,
    ]
    assert [formats.bytes_text(n) for n in (12, 1234, 5_600_000)] == ["12 B", "1.23 kB", "5.6 MB"]
