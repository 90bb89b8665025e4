import dataclasses
from dataclasses import dataclass, field

import pytest

from astra.errors import ConfigError
from astra.images.process_ccd_config import ProcessCcdConfig
from astra.tasks.options import OptionsParameter, option_names, read_options, with_options


@dataclass(frozen=True)
class Inner:
    order: int = 2
    method: str = "median"
    limit: float | None = None

    def __post_init__(self):
        if self.order < 0:
            raise ValueError(f"order must not be negative, found {self.order}")


@dataclass(frozen=True)
class Outer:
    threshold: float = 5.0
    flat: bool = True
    radii: tuple[float, ...] = (3.0, 6.0)
    inner: Inner = field(default_factory=Inner)


def test_options_replace_defaults_with_values_of_their_types():
    changed = with_options(Outer(), "threshold=6, flat=off,radii=3:4.5:9,inner.order=1,inner.method=mean")
    assert changed == Outer(6.0, False, (3.0, 4.5, 9.0), Inner(1, "mean"))
    assert isinstance(changed.threshold, float)


def test_no_options_leave_the_configuration():
    assert with_options(Outer(), "") == Outer()


def test_none_is_none_where_allowed():
    assert with_options(Outer(inner=Inner(limit=3.0)), "inner.limit=none").inner.limit is None
    assert with_options(Outer(), "inner.limit=2.5").inner.limit == 2.5


def test_every_option_of_the_calibration_can_be_given_as_it_is():
    config = ProcessCcdConfig()
    for name in option_names(config):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        if value is None or value == ():
            continue
        text = ":".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert with_options(config, f"{name}={text}") == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("treshold=6", r"option treshold is unknown; did you mean threshold\?"),
        (
            "inner.odrer=1",
            r"option inner\.odrer is unknown; did you mean inner\.order\? Known are inner\.order",
        ),
        ("inner=1", "option inner is unknown"),
        ("threshold.x=1", "option threshold.x is unknown"),
        ("threshold=high", "option threshold must be a number, found 'high'"),
        ("inner.order=1.5", r"option inner\.order must be an integer, found '1\.5'"),
        ("flat=maybe", "option flat is a switch, on or off, found 'maybe'"),
        ("radii=3:x", "option radii must be a number, found 'x'"),
        ("inner.order=-1", "option inner.order=-1 is not possible: order must not be negative, found -1"),
        ("flat", "an option is given as name=value, found 'flat'"),
        ("flat=on,flat=off", "option flat is given twice, as on and as off"),
    ],
)
def test_one_sentence_says_what_is_wrong(text, expected):
    with pytest.raises(ConfigError, match=expected):
        with_options(Outer(), text)


def test_the_order_of_options_makes_no_other_task():
    parameter = OptionsParameter(default="")
    assert parameter.normalize("b=2, a=1") == parameter.normalize("a=1,b=2") == "a=1,b=2"
    assert parameter.normalize({"a": 1}) == "a=1"
    assert read_options(parameter.normalize("b=2, a=1")) == {"a": "1", "b": "2"}


def test_configurations_are_not_changed_in_place():
    config = Outer()
    with_options(config, "inner.order=0")
    assert dataclasses.asdict(config) == dataclasses.asdict(Outer())
