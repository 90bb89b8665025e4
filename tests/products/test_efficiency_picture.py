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
    table["nFalseNew"] = [2, 0, 0, 1]
    table["completeness"] = table["nFound"] / 10
    table["completenessLow"], table["completenessHigh"] = table["completeness"] - 0.1, table["completeness"]
    return table


def test_completeness_and_totals_are_shown():
    figure = draw_efficiency(make_table(), Depth(21.4, 21.0, 0.1, 1.0, 0.3), title="visit 3")
    counts = "15 of 20 injected sources found, 4 false detections, 2 of them new"
    assert figure.get_suptitle() == f"visit 3\n{counts}"
    points = [container[0] for container in figure.axes[0].containers]
    np.testing.assert_allclose([line.get_xdata()[0] for line in points], [20.5, 21.5])
    np.testing.assert_allclose([line.get_ydata()[0] for line in points], [1.0, 0.5])
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["50 % at 21.40 ± 0.10", "90 % at 21.00"]


def test_false_detections_are_drawn_in_their_own_bins():
    figure = draw_efficiency(make_table(), Depth(21.4, 21.0, 0.1, 1.0, 0.3))
    every, new = figure.axes[4].patches
    assert every.get_data().values.tolist() == [3, 1]
    assert new.get_data().values.tolist() == [2, 0]
    assert every.get_data().edges.tolist() == [5.0, 7.0, 14.0]


@pytest.mark.filterwarnings("error")
def test_nothing_injected_is_drawn_too(tmp_path):
    nothing = Depth(*[float("nan")] * 5)
    write_efficiency_picture(tmp_path / "efficiency.png", make_table()[:0], nothing)
    assert (tmp_path / "efficiency.png").read_bytes().startswith(b"\x89PNG")
