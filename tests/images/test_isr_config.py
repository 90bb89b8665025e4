import pytest

from astra.images.isr_config import IsrConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flat_scale": "mode"}, "flat_scale must be one of user, mean, median"),
        ({"crosstalk_background": "x"}, "crosstalk_background must be one of"),
        ({"flat_user_scale": 0.0}, "must be positive"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        IsrConfig(**options)
