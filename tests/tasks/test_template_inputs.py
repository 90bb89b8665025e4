"""What goes into a template by its seeing, and what is said where nothing does."""

import pytest

from astra.database.templates import Candidates
from astra.errors import ConfigError, NoOverlapError
from astra.products.template_files import TemplateInput
from astra.tasks.template import BuildTemplate
from astra.tasks.template_inputs import (
    keep_sharpest,
    leave_out_blurred,
    refuse_none_found,
    refuse_none_used,
)
from astra.tasks.template_rule import tiles_of_camera

INPUTS = [
    TemplateInput(1, 0, fwhm_arcsec=1.0),
    TemplateInput(1, 1, fwhm_arcsec=1.2),
    TemplateInput(2, 0, fwhm_arcsec=0.9),
    TemplateInput(3, 1, fwhm_arcsec=0.8),
    TemplateInput(4, 0).without("not calibrated: no stars"),
]


def used(inputs):
    return [(one.visit, one.detector) for one in inputs if one.used]


def test_what_is_blurred_is_left_out_with_the_numbers():
    judged = leave_out_blurred(INPUTS, 0.95)
    assert used(judged) == [(2, 0), (3, 1)]
    assert judged[1].reason == "blurred: FWHM 1.20 above 0.95 arcsec"
    assert judged[4].reason == "not calibrated: no stars"
    assert leave_out_blurred(INPUTS, None) == INPUTS


def test_the_sharpest_visits_stay_with_all_their_detectors():
    assert used(keep_sharpest(INPUTS, 1)) == [(3, 1)]
    assert used(keep_sharpest(INPUTS, 2)) == [(2, 0), (3, 1)]
    assert used(keep_sharpest(INPUTS, 3)) == used(keep_sharpest(INPUTS, None)) == used(INPUTS)
    assert keep_sharpest(INPUTS, 2)[0].reason == "not among the sharpest 2 visits"
    same = [TemplateInput(visit, 0, fwhm_arcsec=1.0) for visit in (9, 8, 7)]
    assert used(keep_sharpest(same, 2)) == [(8, 0), (7, 0)]


def test_no_visit_is_an_error_with_what_became_of_them():
    refuse_none_found(Candidates([(1, 2)], 5), "tile 3")
    lost = {"are not in band r": 3, "look elsewhere": 2}
    expected = "of 5 visits none is left for tile 3: 3 are not in band r, 2 look elsewhere"
    with pytest.raises(NoOverlapError, match=expected) as caught:
        refuse_none_found(Candidates([], 5, lost), "tile 3")
    assert caught.value.context == {"n_visits": 5, "dropped": lost}
    with pytest.raises(NoOverlapError, match="there is no visit for tile 3; ingest and define some"):
        refuse_none_found(Candidates([], 0), "tile 3")


def test_no_exposure_is_an_error_with_the_reasons():
    refuse_none_used(INPUTS, "tile 3")
    with pytest.raises(
        NoOverlapError, match="of 5 exposures none is left for tile 3: 4 blurred, 1 not calib"
    ):
        refuse_none_used(leave_out_blurred(INPUTS, 0.1), "tile 3")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "name them with template_visits, or give template_begin or template_end"),
        ({"template_begin": "60000", "template_end": "59000"}, r"found MJD 59000\.0 and 60000\.0 \(TAI\)"),
        ({"template_begin": "tomorrow"}, "a date is given as 2026-11-20"),
        ({"template_visits": "1", "template_max_fwhm_arcsec": -1.0}, "must be positive, found -1.0"),
        ({"template_visits": "1", "template_max_inputs": 0}, "template_max_inputs must be positive, found 0"),
    ],
)
def test_a_rule_that_cannot_be_met_is_refused(parameters, expected):
    task = BuildTemplate(instrument="simcam", tile=1, band="r", **parameters)
    with pytest.raises(ConfigError, match=expected):
        task.check_rule()


def test_tiles_are_not_much_larger_than_the_detectors_of_the_camera():
    small, large = tiles_of_camera("simcam"), tiles_of_camera("decam")
    assert max(small.tile(0).shape) < 3 * 600 + 2 * 100
    assert 2000 < max(large.tile(0).shape) < 5000
    assert (small.pixel_scale_arcsec, tiles_of_camera("simcam", 5).order) == (0.4, 5)
