import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astra.instruments.sections import FitsSection, is_section, parse_section

ENDS = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def test_a_section_counts_from_one_with_both_ends():
    section = parse_section("[3:4,1:5]")
    image = np.arange(60).reshape(6, 10)
    assert image[section.slices].shape == section.shape == (5, 2)
    assert image[section.slices][0, 0] == 2
    assert section.corner == "LL"


@pytest.mark.parametrize(
    ("text", "corner"),
    [("[1:9,1:5]", "LL"), ("[9:1,1:5]", "LR"), ("[1:9,5:1]", "UL"), (" [ 9:1 , 5:1 ] ", "UR")],
)
def test_falling_ends_turn_an_axis_round(text, corner):
    section = parse_section(text)
    assert section.corner == corner
    assert section.slices == (slice(0, 5), slice(0, 9))


@settings(deadline=None)
@given(ENDS, ENDS)
def test_what_is_written_is_read_again(x, y):
    section = parse_section(f"[{x[0]}:{x[1]},{y[0]}:{y[1]}]")
    assert parse_section(str(section)) == section


@settings(deadline=None)
@given(ENDS, ENDS, ENDS, ENDS)
def test_sections_overlap_where_they_share_a_pixel(x1, y1, x2, y2):
    first, second = (FitsSection(min(x), max(x) + 1, min(y), max(y) + 1) for x, y in ((x1, y1), (x2, y2)))
    in_x = set(range(first.x0, first.x1)) & set(range(second.x0, second.x1))
    in_y = set(range(first.y0, first.y1)) & set(range(second.y0, second.y1))
    assert first.overlaps(second) == second.overlaps(first) == bool(in_x and in_y)


@pytest.mark.parametrize(
    "text", ["", "[1:2]", "[0:4,1:2]", "[a:4,1:2]", "1:2,1:2", 5, None, "[1:2000000,1:2]"]
)
def test_what_is_no_section_is_refused(text):
    with pytest.raises(ValueError, match=r"a section \[x1:x2,y1:y2\]"):
        parse_section(text)


def test_keywords_are_told_from_sections():
    assert is_section("[1:2,3:4]")
    assert not is_section("DATASEC")
    assert not is_section(3)
