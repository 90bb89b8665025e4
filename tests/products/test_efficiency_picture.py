"""The picture of an efficiency shows what is in its table, and is drawn of an empty one too."""

import numpy as np
import pytest

from astra.images.efficiency import EFFICIENCY_DTYPE, Depth
from astra.products.efficiency_picture import draw_efficiency, write_efficiency_picture


def make_table():
    table = np.zeros(4, dtype=EFFICIENCY_DTYPE)
    table["quantity"] = ["snr", "snr", "mag", "mag"]
    table["low"], table["high"] = [5, 7, 20, 21], [7, np.inf, 21, 22]
    table["nInjected"], table["nFound"], table["nFalse"] = 10, [5, 10, 10, 5], [3, 1, 0, 4]
    table["completeness"] = table["nFound"] / 10
    table["completenessLow"], table["completenessHigh"] = table["completeness"] - 0.1, table["completeness"]
    return table


def test_completeness_and_totals_are_shown():
    figure = draw_efficiency(make_table(), Depth(21.4, 21.0, 0.1, 1.0, 0.3), title="visit 3")
    assert figure.get_suptitle() == "visit 3   15 of 20 injected sources found, 4 false detections"
    points = figure.axes[0].containers[0][0]
    np.testing.assert_allclose(points.get_xdata(), [20.5, 21.5])
    np.testing.assert_allclose(points.get_ydata(), [1.0, 0.5])
    assert "50 % at 21.40" in figure.axes[0].texts[0].get_text()


@pytest.mark.filterwarnings("error")
def test_nothing_injected_is_drawn_too(tmp_path):
    nothing = Depth(*[float("nan")] * 5)
    write_efficiency_picture(tmp_path / "efficiency.png", make_table()[:0], nothing)
    assert (tmp_path / "efficiency.png").read_bytes().startswith(b"\x89PNG")
