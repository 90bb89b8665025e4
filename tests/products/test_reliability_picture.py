"""The picture of a reliability model."""

import numpy as np
import pytest

from astra.products.reliability_picture import draw_reliability, write_reliability_picture


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = np.clip(0.5 + 0.3 * (2 * labels - 1) + rng.normal(0, 0.2, 400), 0, 1)
    return labels, scores, rng.uniform(5, 40, 400)


def test_four_panels_say_what_they_show(scored):
    figure = draw_reliability(*scored, threshold=0.5, title="a model")
    panels = figure.get_axes()
    assert len(panels) == 4
    for panel in panels:
        assert panel.get_xlabel()
        assert panel.get_ylabel()
    texts = [text.get_text() for panel in panels for text in panel.get_legend().get_texts()]
    assert any("purity" in text and "completeness 0.93" in text for text in texts)
    assert "200 sources" in texts
    assert "200 artefacts" in texts


def test_nothing_is_cut_off(scored):
    figure = draw_reliability(*scored, threshold=0.5, title="a model")
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for panel in figure.get_axes():
        box = panel.get_tightbbox()
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height


def test_bins_without_detections_are_drawn_too(scored, tmp_path):
    labels, scores, _ = scored
    snr = np.full(len(labels), 50.0)
    write_reliability_picture(tmp_path / "roc.png", labels, scores, snr, threshold=0.9, title="a model")
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
