import dataclasses

import numpy as np
import pytest
from matplotlib.quiver import QuiverKey

from astra.errors import TooFewSourcesError
from astra.images.failures import Failure
from astra.images.process_ccd import process_ccd
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.images.psf_stars import PsfFitConfig
from astra.products.quality_picture import bin_image, draw_quality, write_quality_picture
from tests.images.star_field import make_star_field


@pytest.fixture(scope="module")
def result():
    field = make_star_field()
    return process_ccd(field.exposure, field.reference, ProcessCcdConfig(psf=PsfFitConfig(size_pixel=31)))


def texts(figure):
    found = [figure.get_suptitle()]
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), *(text.get_text() for text in axes.texts)]
    return "\n".join(found)


def test_blocks_are_averaged_without_what_is_not_finite():
    image = np.arange(24.0).reshape(4, 6)
    image[0, 0] = np.nan
    image[2:, 4:] = np.nan
    assert bin_image(image, 3) == pytest.approx(
        np.array([[np.mean([1, 6, 7]), 5.5, 7.5], [15.5, 17.5, np.nan]]), nan_ok=True
    )
    assert bin_image(image, 10) == pytest.approx(image, nan_ok=True)


def test_the_picture_says_which_detector_and_how_good(result):
    shown = texts(draw_quality(result))
    info = result.calexp.info
    assert f"visit {info.visit}   detector {info.detector}" in shown
    assert f"{result.metrics['zero_point_scatter_mag']:.3f} mag" in shown
    figure = draw_quality(result)
    keys = [artist for axes in figure.axes for artist in axes.artists if isinstance(artist, QuiverKey)]
    assert [key.text.get_text() for key in keys] == ["10 mas"]


def test_a_panel_without_a_fit_says_why(result):
    reasons = {"psf": "3 $tars", "wcs": "2 sources match", "photoCalib": "no pairs"}
    failures = tuple(Failure(step, TooFewSourcesError(reason)) for step, reason in reasons.items())
    calexp = result.calexp.replace(psf=None, wcs=None, photo_calib=None, unit="adu")
    shown = texts(draw_quality(dataclasses.replace(result, calexp=calexp, failures=failures, metrics={})))
    assert r"3 \$tars" in shown
    assert "2 sources match" in shown
    assert "no pairs" in shown


def test_an_image_without_a_finite_pixel_can_be_drawn(result, tmp_path):
    empty = result.calexp.replace(image=np.full(result.calexp.shape, np.nan, dtype=np.float32))
    write_quality_picture(tmp_path / "qa.png", dataclasses.replace(result, calexp=empty))
    assert (tmp_path / "qa.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["qa.png"]
