import pytest

from astra.images.isr_config import IsrConfig, configure
from astra.images.overscan import OverscanConfig


def test_options_are_read_from_a_line_of_text():
    text = "crosstalk=off, overscan_fit.method=median flat_user_scale=1.5,fringe_filters=i+z edge_pixel=3"
    expected = IsrConfig(
        crosstalk=False,
        overscan_fit=OverscanConfig("median"),
        flat_user_scale=1.5,
        fringe_filters=("i", "z"),
        edge_pixel=3,
    )
    assert configure(IsrConfig(), text) == expected
    assert configure(IsrConfig(), "") == IsrConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flat", "name=value pairs"),
        ("flats=on", "'flats' of IsrConfig is unknown; known are overscan"),
        ("flat=maybe", "'flat' is on or off, found 'maybe'"),
        ("edge_pixel=wide", "'edge_pixel' is a number"),
        ("overscan_fit=mean", "'overscan_fit' of IsrConfig is unknown"),
        ("flat.method=mean", "'flat' of IsrConfig is unknown"),
        ("overscan_fit.method=best", "overscan method must be one of"),
        ("flat_scale=mode", "flat_scale must be one of user, mean, median"),
        ("crosstalk_background=x", "crosstalk_background must be one of"),
        ("flat_user_scale=0", "must be positive"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        configure(IsrConfig(), text)
