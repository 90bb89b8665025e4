"""The picture of an alert: north is up, east is left, and nothing that an alert says can harm."""

import numpy as np
import pytest

from astra.alerts.files import write_alerts
from astra.alerts.reading import read_packets
from astra.alerts.stamps import Stamp
from astra.alerts.views import POINT_DTYPE, AlertView, packet_stamps, view_packet
from astra.products.alert_picture import draw_alert, write_alert_picture
from tests.alerts.stamped import stamped

POINTS = np.array(
    [(60000.0, "g", 900.0, 50.0), (60001.0, "r", -500.0, np.nan), (60002.0, "x", 100.0, 50.0)],
    dtype=POINT_DTYPE,
)
NONE = np.zeros(0, dtype=POINT_DTYPE)


def view(**changes):
    values = {
        "survey": "lsst", "schema": "lsst.v11_1.alert", "source_id": 2**62 + 1, "object_name": "77",
        "ra": 149.5, "dec": 2.25, "mjd_tai": 60002.0, "band": "r", "flux": 100.0, "flux_err": 50.0,
        "snr": 2.0, "reliability": 0.5, "detections": POINTS, "forced": POINTS[:2], "limits": POINTS[:1],
    }  # fmt: skip
    return AlertView(**(values | changes))


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        found += [text.get_text() for text in axes.texts]
        legend = axes.get_legend()
        found += [text.get_text() for text in legend.get_texts()] if legend else []
    return found


@pytest.mark.parametrize(("angle_deg", "flipped"), [(0, False), (90, False), (215, False), (30, True)])
def test_north_is_up_and_east_is_left(tmp_path, angle_deg, flipped):
    write_alerts(tmp_path / "a.avro", [stamped(angle_deg=angle_deg, flipped=flipped, star=(3.0, 2.0))])
    (packet,) = read_packets(tmp_path / "a.avro")
    figure = draw_alert(view_packet(packet), packet_stamps(packet))
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].min(axis=2).astype(float)
    template = figure.axes[1]
    box = template.get_window_extent()
    height = pixels.shape[0]
    part = pixels[height - int(box.y1) : height - int(box.y0), int(box.x0) : int(box.x1)]
    # the neighbour, 3 arcsec east and 2 north, is what is dark in its quarter
    side = part.shape[0]
    per_arcsec = side / np.ptp(template.get_ylim())
    column, row = side / 2 - 3.0 * per_arcsec, side / 2 - 2.0 * per_arcsec
    reach = int(0.5 * per_arcsec)
    near = part[int(row) - reach : int(row) + reach, int(column) - reach : int(column) + reach]
    opposite = part[
        side - int(row) - reach : side - int(row) + reach, int(column) - reach : int(column) + reach
    ]
    assert near.mean() < 80
    assert opposite.mean() > 150


def test_the_picture_tells_what_it_shows():
    shown = "\n".join(texts(draw_alert(view(), {})))
    assert str(2**62 + 1) in shown
    assert "09:58:00.00 +02:15:00.00" in shown
    assert "r = 26.40 ± 0.54 AB" in shown
    assert "days from MJD 60002.00000 TAI" in shown
    assert {"g", "r", "x", "forced", "this alert"} <= set(texts(draw_alert(view(), {})))
    assert texts(draw_alert(view(), {})).count("none") == 3


def test_short_light_curves_are_in_hours():
    points = POINTS.copy()
    points["mjd_tai"] = [60001.9, 60001.95, 60002.0]
    shown = texts(draw_alert(view(detections=points, forced=NONE, limits=NONE), {}))
    assert "hours from MJD 60002.00000 TAI" in shown


def test_without_a_point_there_is_no_light_curve():
    nothing = view(detections=NONE, forced=NONE, limits=NONE, flux=np.nan, flux_err=np.nan, snr=np.nan)
    assert "no light curve" in texts(draw_alert(nothing, {}))


def test_hostile_text_is_neither_formula_nor_control(tmp_path):
    figure = draw_alert(view(object_name="$\\frac{1\x1b[2J\n", band="$x"), {})
    figure.canvas.draw()
    shown = "".join(texts(figure))
    assert "\x1b" not in shown
    assert r"\$\frac{1" in shown


@pytest.mark.parametrize("image", [np.full((5, 7), np.nan), np.zeros((5, 7)), np.full((5, 7), 1e29)])
def test_stamps_without_contrast_can_be_drawn(tmp_path, image):
    stamp = Stamp(image.astype(np.float32), "", 3.0, 2.0, None)
    write_alert_picture(
        tmp_path / "a.png", view(), dict.fromkeys(("science", "template", "difference"), stamp)
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
