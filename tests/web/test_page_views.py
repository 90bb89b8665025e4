"""What addresses choose: a light curve's quantity, greys and masks of images, parts of a spectrum, a scan."""

import re
import struct
import zlib
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from astra.database.pages.light_curves import LightPoint
from astra.database.pages.places import Detection
from astra.database.pages.visits import DetectorRow
from astra.images.exposure import MaskPlane
from astra.products.catalogs import write_catalog
from astra.products.spectra import read_spectrum
from astra.spectra.masks import ApogeePixel, SpecPixel
from astra.web.curve_view import CurveView
from astra.web.filters import BadFilterError, Query
from astra.web.image_view import COLOURS, PLANES, ImageView, any_in_blocks
from astra.web.links import ServerLinks
from astra.web.night_page import NightData, latency_told
from astra.web.pixels import encode_indexed, to_grey, zscale_stretch
from astra.web.spectrum_mask import NO_BIT, NO_IVAR, bad_runs, bits_of_row, words_of
from astra.web.spectrum_viewer import LETTER, draw_spectrum, name_rows
from astra.web.spectrum_zoom import zooms
from astra.web.truth import judge_visit
from tests.products.synthetic_spectra import write_spec
from tests.web.conftest import Server
from tests.web.pages_night import CAMERA, DETECTOR, VISIT, fill_night


def point(day, flux, *, forced=False, total=None, error=10.0, number=1):
    return LightPoint(
        is_forced=forced, mjd_tai=day, band="r", flux=flux, flux_err=error, science_flux=total,
        science_flux_err=2 * error, snr=None, reliability=None, visit=1, detector=0, source_id=number,
    )  # fmt: skip


POINTS = [
    point(60000.0, 400.0, total=900.0),
    point(60001.0, -300.0, total=200.0, number=2),
    point(60002.0, 5.0, forced=True, total=505.0, number=3),
]


def test_a_light_curve_is_of_the_flux_that_is_chosen():
    total = CurveView(flux="total").points(POINTS)
    assert [one.flux for one in total] == [900.0, 200.0, 505.0]
    assert [one.flux_err for one in total] == [20.0, 20.0, 20.0]
    assert CurveView().points(POINTS) == POINTS
    (wide, narrow) = CurveView(flux="total").draw(POINTS, name="7", marked=None)
    assert "total flux [nJy]" in wide
    assert "from 200 to 900 nJy" in narrow
    assert 'viewBox="0 0 860 300"' in wide


def test_forced_fluxes_and_limits_go_where_they_are_not_wanted():
    shown = {word: CurveView(forced=word).draw(POINTS, name="7", marked=None)[0] for word in ("yes", "no")}
    assert "forced" in shown["yes"]
    assert "forced" not in re.sub('<desc>.*?</desc>|aria-label="[^"]*"', "", shown["no"])
    for scale in ("flux", "mag"):
        with_limits, without = (
            CurveView(scale=scale, limits=word).draw(POINTS, name="7", marked=None)[0]
            for word in ("yes", "no")
        )
        assert with_limits.count("upper-limit") == 1
        assert "upper-limit" not in without


def test_a_total_magnitude_is_never_fainter_than_the_template():
    texts = [
        CurveView("mag", flux).draw(POINTS, name="7", marked=None)[0] for flux in ("difference", "total")
    ]
    assert texts[0].count("fainter than the template") == 1
    assert "than the template" not in texts[1]
    # AB magnitude of 900 nJy
    assert f"{31.4 - 2.5 * np.log10(900.0):.2f}" in texts[1]


def test_switches_lead_to_what_they_say_and_keep_the_rest():
    view = CurveView(scale="mag", forced="no")
    groups = view.switches(ServerLinks(), 5, 9)
    found = {one["id"]: one for group in groups for one in group}
    assert parse_qs(urlsplit(found["scale-flux"]["address"]).query) == {"source": ["9"], "forced": ["no"]}
    assert parse_qs(urlsplit(found["forced-switch"]["address"]).query) == {"source": ["9"], "scale": ["mag"]}
    assert parse_qs(urlsplit(found["flux-total"]["address"]).query)["flux"] == ["total"]
    assert [found[name]["on"] for name in ("scale-mag", "scale-flux", "forced-switch", "limits-switch")] == [
        True, False, False, True,
    ]  # fmt: skip
    assert CurveView.of(Query({"scale": "mag", "forced": "no"})) == view


def test_a_narrow_light_curve_of_many_bands_has_its_legend_below_the_labels():
    many = [replace(POINTS[0], band=band, mjd_tai=60000.0 + n) for n, band in enumerate("ugrizy")]
    wide, narrow = CurveView().draw([*many, POINTS[2]], name="7", marked=None)

    def height(text, word):
        return float(re.search(rf'y="([\d.]+)"[^>]*>{re.escape(word)}<', text)[1])

    assert height(wide, "forced") == pytest.approx(height(wide, "difference flux [nJy]"), abs=5)
    assert height(narrow, "forced") > height(narrow, "difference flux [nJy]") + 8


def decoded(png):
    """Pixels, palette and opacities of a PNG without filters."""
    chunks, place = {}, 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        chunks[png[place + 4 : place + 8]] = png[place + 8 : place + 8 + length]
        place += 12 + length
    nx, ny = struct.unpack(">II", chunks[b"IHDR"][:8])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(ny, nx + 1)
    return rows[:, 1:], chunks


def test_colours_of_a_mask_are_those_that_are_asked_for():
    indices = np.array([[0, 1, 2], [2, 0, 1]], np.uint8)
    pixels, chunks = decoded(encode_indexed(indices, ("#ff0000", "#0000ff"), 0.5))
    assert (pixels == indices).all()
    assert chunks[b"PLTE"] == bytes([0, 0, 0, 255, 0, 0, 0, 0, 255])
    assert chunks[b"tRNS"] == bytes([0, 128, 128])
    assert chunks[b"IHDR"][8:10] == bytes([8, 3])


def test_a_single_pixel_of_a_mask_is_seen_in_its_block():
    mask = np.zeros((41, 100), np.uint32)
    mask[40, 99], mask[3, 7], mask[3, 8] = MaskPlane.CR, MaskPlane.SAT, MaskPlane.EDGE
    blocks = any_in_blocks(mask, 20)
    assert blocks.shape == (9, 20)
    assert blocks[8, 19] == MaskPlane.CR
    assert blocks[0, 1] == MaskPlane.SAT | MaskPlane.EDGE
    assert np.count_nonzero(blocks) == 2
    assert (any_in_blocks(mask, 500) == mask).all()


def test_planes_have_the_colours_of_their_places():
    view = ImageView.of(Query({"mask": "SAT, CR,SAT", "stretch": "linear"}))
    assert view == ImageView("linear", ("SAT", "CR"))
    found = {one["text"]: one for one in view.masks(Query({"mask": "SAT,CR", "n": "1"}), "/v")}
    assert tuple(found) == PLANES
    assert COLOURS[1] in found["CR"]["swatch"]
    assert parse_qs(urlsplit(found["CR"]["address"]).query) == {"mask": ["SAT"], "n": ["1"]}
    assert parse_qs(urlsplit(found["EDGE"]["address"]).query)["mask"] == ["SAT,CR,EDGE"]
    full = ImageView(planes=PLANES[: len(COLOURS)])
    others = [one for one in full.masks(Query({}), "/v") if one["swatch"] is None]
    assert all(one["address"] is None for one in others)
    with pytest.raises(BadFilterError, match="INJECTED"):
        ImageView.of(Query({"mask": "INJECTED"}))


def test_stretches_are_what_their_names_say():
    values = np.linspace(0.0, 100.0, 101, dtype=np.float32)[None, :]
    limits = replace(zscale_stretch(values), low=0.0, high=100.0, sigma=1.0)
    linear = to_grey(values, limits, linear=True)[0].astype(int)
    assert linear[50] == pytest.approx(0.5 * (linear[0] + linear[100]), abs=1)
    assert to_grey(values, limits)[0, 50] < linear[50]  # faint light is darker in the other one
    rng = np.random.default_rng(1)
    image = rng.normal(10.0, 2.0, (300, 200))
    image[100:103, 50] = 5000.0
    limits = zscale_stretch(image)
    assert 0 < limits.low < 10 < limits.high < 60  # not those of the bright pixels
    both = zscale_stretch(image - 10.0, symmetric=True)
    assert both.low == -both.high
    assert zscale_stretch(np.full((3, 4), np.nan)).high > zscale_stretch(np.full((3, 4), np.nan)).low


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A server of a night that has images."""
    root = tmp_path_factory.mktemp("night")
    made = Server(fill_night(root), root)
    yield made
    made.stop()


@pytest.mark.parametrize(
    "place", [f"/visit/{CAMERA}/{VISIT}", f"/visit/{CAMERA}/{VISIT}/detector/{DETECTOR}"]
)
def test_images_and_masks_are_drawn_as_the_address_says(night, place):
    def pictures(**query):
        return re.findall(r"/pictures/[0-9a-f]{32}\.png", night.page(place, **query))

    plain, linear, masked = pictures(), pictures(stretch="linear"), pictures(mask="DETECTED,EDGE")
    assert set(plain) <= set(masked)
    assert set(plain).isdisjoint(linear)
    kinds = [decoded(night.ask(one)[1])[1][b"IHDR"][9] for one in sorted(set(masked))]
    assert kinds.count(3) == kinds.count(0) == 3
    grey = [decoded(night.ask(one)[1])[0] for one in (sorted(set(plain))[0], sorted(set(linear))[0])]
    assert all(len(np.unique(one)) > 3 for one in grey)


def simulated(tmp_path, rows, others=()):
    (tmp_path / "simulation").mkdir()
    kinds = [("visit", "i8"), ("detector", "i4"), ("ra", "f8"), ("dec", "f8"), ("flux", "f8")]
    for name, table in (("truth", rows), ("changing", others)):
        write_catalog(tmp_path / "simulation" / f"{name}.fits", np.array(list(table), kinds))


def detection(number, ra, dec=0.0):
    return Detection(number, None, 3, ra, dec, 10.0, 0.9, is_negative=False)


LIMIT = 24.0
FAINTEST = 10 ** ((31.4 - LIMIT) / 2.5) / 5.0  # flux of S/N 1 [nJy]


def test_detections_are_judged_by_what_was_simulated(tmp_path):
    step = 1.0 / 3600.0
    rows = [
        (12, 3, 359.9999, 0.0, 9 * FAINTEST),  # found, over the seam of right ascension
        (12, 3, 10.0, 0.0, -20 * FAINTEST),  # missed
        (12, 3, 20.0, 0.0, 6 * FAINTEST),  # too faint to be missed
        (12, 4, 30.0, 0.0, 1e9),  # on a detector that has no difference
        (99, 3, 40.0, 0.0, 1e9),  # of another visit
    ]
    simulated(tmp_path, rows, [(12, 3, 50.0, 0.0, 1.0)])
    detectors = {3: DetectorRow(12, 3, figures={"DiffIm:subtract.diffimLimitingMagnitude": LIMIT})}
    found = [detection(1, 359.9999 + 0.5 * step), detection(2, 10.0 + 2 * step), detection(3, 50.0)]
    judged = judge_visit(tmp_path, 12, detectors, found)
    assert judged.kinds == {1: "found", 2: "false", 3: "known"}
    assert (judged.n_expected, judged.n_found, judged.n_false, judged.n_known) == (2, 1, 1, 1)
    assert [(mark.ra, mark.kind) for mark in judged.missed] == [(10.0, "missed")]
    assert "S/N 20.0" in judged.missed[0].hint
    nothing = judge_visit(tmp_path, 12, detectors, [])
    assert (nothing.n_found, len(nothing.missed), nothing.kinds) == (0, 2, {})


def test_without_a_truth_nothing_is_judged(tmp_path):
    assert judge_visit(tmp_path, 12, {}, [detection(1, 1.0)]) is None
    simulated(tmp_path, [(99, 3, 40.0, 0.0, 1e9)])
    assert judge_visit(tmp_path, 12, {}, [detection(1, 1.0)]) is None
    (tmp_path / "simulation" / "truth.fits").write_bytes(b"no table")
    assert judge_visit(tmp_path, 12, {}, [detection(1, 1.0)]) is None


def test_a_night_tells_what_was_found_of_what_was_simulated(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    url = fill_night(root)
    simulated(root, [(VISIT, DETECTOR, 149.5, 2.25, 1e9)])
    made = Server(url, root)
    try:
        for path in (f"/visit/{CAMERA}/{VISIT}", f"/night/{CAMERA}/20261120"):
            text = made.page(path)
            assert "Simulated transients above S/N 7" in text, path
            assert 'class="found"' in text
    finally:
        made.stop()


def test_bits_of_a_mask_have_their_names(tmp_path):
    assert words_of(SpecPixel, int(SpecPixel.BRIGHTSKY | SpecPixel.NODATA)) == ["BRIGHTSKY", "NODATA"]
    assert words_of(ApogeePixel, 1 << 40 | int(ApogeePixel.CRPIX)) == ["CRPIX", NO_BIT]
    assert words_of(ApogeePixel, 0) == []
    write_spec(tmp_path / "spec-1-2-3.fits")
    spectrum = read_spectrum("spec", tmp_path / "spec-1-2-3.fits")
    flags = np.zeros_like(spectrum.pixel_flags)
    flags[0, 100:103], flags[0, 103], flags[0, 200] = (
        SpecPixel.BRIGHTSKY,
        SpecPixel.FULLREJECT,
        SpecPixel.NOSKY,
    )
    ivar, bad = spectrum.ivar.copy(), np.zeros_like(spectrum.bad)
    ivar[0], bad[0, 100:104], bad[0, -1] = 1.0, True, True
    ivar[0, -1] = 0.0
    own = replace(spectrum, pixel_flags=flags, ivar=ivar, bad=bad)
    told = {bit.name: (bit.n_pixels, bit.n_bad) for bit in bits_of_row(own, 0)}
    assert told == {"BRIGHTSKY": (3, 3), "FULLREJECT": (1, 1), "NOSKY": (1, 0), NO_IVAR: (1, 1)}
    everywhere = np.ones(own.n_pixels, bool)
    runs = bad_runs(own, 0, everywhere)
    assert [(run.first, run.last) for run in runs] == [(100, 103), (own.n_pixels - 1, own.n_pixels - 1)]
    assert [run.reason for run in runs] == ["FULLREJECT, BRIGHTSKY", NO_IVAR]
    drawn = draw_spectrum(own, 0)
    assert "4 pixels: FULLREJECT, BRIGHTSKY" in drawn
    assert bad_runs(own, 0, ~everywhere) == []


def test_the_error_band_ends_where_a_spectrum_has_a_gap(tmp_path):
    write_spec(tmp_path / "spec-1-2-3.fits")
    spectrum = read_spectrum("spec", tmp_path / "spec-1-2-3.fits")
    bad = np.zeros_like(spectrum.bad)
    bad[0, 2000:2600] = True
    ivar = np.where(bad, 0.0, 1.0)
    drawn = draw_spectrum(replace(spectrum, bad=bad, ivar=ivar), 0)
    assert drawn.count('class="area"') == 2
    assert (
        draw_spectrum(replace(spectrum, bad=~np.ones_like(bad), ivar=np.ones_like(ivar)), 0).count("area")
        == 1
    )


def test_no_two_names_of_lines_touch():
    rng = np.random.default_rng(3)
    places = np.sort(rng.uniform(0.0, 300.0, 60)).tolist()
    names = [f"line {n}" for n in range(60)]
    ends = {}
    rows = name_rows(places, names)
    assert None in rows  # there is no room for all
    for place, name, row in zip(places, names, rows, strict=True):
        if row is not None:
            assert place > ends.get(row, -1.0)
            ends[row] = place + LETTER * len(name)
    assert name_rows([0.0, 100.0], ["a", "b"]) == [0, 0]


def test_parts_of_a_spectrum_stay_within_it():
    wave = np.linspace(4000.0, 8000.0, 4001)

    def bounds(name, shown):
        address = {one: to for one, _, to in zooms(Query({"z": "0.1"}), wave, shown, 7)}[name]
        if address is None:
            return None
        query = parse_qs(urlsplit(address).query)
        assert query.pop("z") == ["0.1"]
        return {key: float(value[0]) for key, value in query.items()}

    assert bounds("nearer", (None, None)) == {"from": 5000.0, "to": 7000.0}
    assert (
        bounds("whole", (None, None))
        is bounds("blue", (None, None))
        is bounds("farther", (None, None))
        is None
    )
    assert bounds("blue", (5000.0, 6000.0)) == {"from": 4500.0, "to": 5500.0}
    assert bounds("blue", (4100.0, 5100.0)) == {"to": 5000.0}
    assert bounds("red", (7100.0, 7900.0)) == {"from": 7200.0}
    assert bounds("farther", (5000.0, 6000.0)) == {"from": 4500.0, "to": 6500.0}
    assert bounds("farther", (4500.0, 7500.0)) == {}
    assert bounds("nearer", (5000.0, 5030.0)) is None
    assert bounds("whole", (5000.0, 6000.0)) == {}


def scan(server, **query):
    text = server.page("/alerts", view="scan", **query)
    links = dict(re.findall(r'<a rel="(prev|next)" href="([^"]*)"', text))
    return re.search(r'data-source="(\d+)"', text)[1], {
        word: {name: one[0] for name, one in parse_qs(urlsplit(to.replace("&amp;", "&")).query).items()}
        for word, to in links.items()
    }


@pytest.mark.parametrize("order", ["newest", "snr", "reliability"])
def test_a_scan_goes_through_the_list_and_back(server, order):
    wanted = [one["diaSourceId"] for one in server.json("/alerts", order=order)["alerts"]]
    query, seen = {"n": 4, "order": order}, []
    for _ in wanted:
        source, links = scan(server, **query)
        seen.append(source)
        query = links.get("next")
        if query is None:
            break
        query.pop("view")
    assert seen == wanted
    back = [seen[-1]]
    while "prev" in links:
        query = links["prev"]
        query.pop("view")
        source, links = scan(server, **query)
        back.append(source)
    assert back == wanted[::-1]


def test_the_grid_leads_to_the_page_before(server):
    every = [one["diaSourceId"] for one in server.json("/alerts")["alerts"]]
    text = server.page("/alerts", n=2, before=every[5])  # shows 6 and 7
    previous = re.search(r'href="([^"]*)" rel="prev">← The page before', text)[1].replace("&amp;", "&")
    query = {name: one[0] for name, one in parse_qs(urlsplit(previous).query).items()}
    assert [one["diaSourceId"] for one in server.json("/alerts", **query)["alerts"]] == every[4:6]
    assert "The page before" not in server.page("/alerts", n=2)


def test_a_night_that_was_processed_late_says_why_it_has_no_latency():
    def told(summary):
        return latency_told(NightData(SimpleNamespace(summary=summary), (), (), (), ()))

    late = told({"latency_median_s": 5.5 * 86400, "latency_p95_s": 6e5, "latency_max_s": 7e5})
    assert late["reason"] == "not measured: this night was processed 5.5 d after its exposures"
    prompt = told({"latency_median_s": 60.0, "latency_p95_s": 90.0, "latency_max_s": 95.0})
    assert prompt == {"median": 60.0, "p95": 90.0, "max": 95.0, "reason": ""}
    assert told(None) is None
