import csv

import numpy as np
import pytest

from astra.products.spectra import read_ap_star, read_ap_visit
from astra.spectra.coadd import INFLATION, Visit, combine, rest_visit, smooth_continuum
from astra.spectra.grid import APSTAR_GRID
from astra.spectra.masks import APOGEE_BAD_FOR_VELOCITY, ApogeePixel
from astra.spectra.resampling import apply_bits, apply_taps, fill_taps, share_of_bit, sinc_operator
from tests.spectra.synthetic_stars import CONTINUUM, Star, observe, visit_wavelength

STAR = Star(sigma_kms=9.0)


def make_visit(v_kms, snr, seed, n_pixels=4096, flags=None):
    wavelength, flux, ivar, own = observe(STAR, v_kms, snr, np.random.default_rng(seed), n_pixels=n_pixels)
    return Visit(wavelength, visit_wavelength(n_pixels)[1], flux, ivar, own if flags is None else flags)


def expected(v_kms):
    """The star at rest, with the continuum of the observed frame."""
    observed = APSTAR_GRID.wavelength * (1.0 + v_kms / 299792.458)
    return CONTINUUM * (1.0 + 0.2 * np.sin(observed / 300.0)) * STAR(APSTAR_GRID.wavelength)


@pytest.mark.parametrize("n_pixels", [4096, 2048])
def test_visits_come_to_rest_with_the_noise_that_they_say(n_pixels):
    errors = []
    for seed, v_kms in enumerate((-120.0, 3.3, 80.0)):
        row = rest_visit(make_visit(v_kms, 100.0, seed, n_pixels), v_kms)
        inside = row.good & (np.gradient(row.continuum) != 0)
        errors.append(((row.flux - expected(v_kms)) * np.sqrt(row.ivar))[inside])
    errors = np.concatenate(errors)
    assert errors.size > 20000
    assert np.abs(np.median(errors)) < 0.05
    assert 1.4826 * np.median(np.abs(errors)) == pytest.approx(1.0, abs=0.1)


def test_a_shared_bad_pixel_does_not_reach_the_sum_and_one_visit_s_does_not_either():
    flags = [np.zeros(3 * 4096, np.int64) for _ in range(3)]
    visits = [make_visit(0.0, 200.0, seed, flags=own) for seed, own in enumerate(flags)]
    at = 4096 + 2000
    for number, visit in enumerate(visits):
        visit.flux[at] = 1e7
        visit.pixel_flags[at] |= int(ApogeePixel.CRPIX)
        if number == 0:
            visit.flux[at - 500] = np.nan
            visit.ivar[at - 900] = 0.0
    total = combine([rest_visit(visit, 0.0) for visit in visits])
    shared = int(np.rint(APSTAR_GRID.pixel_of(visits[0].wavelength[at])))
    assert total.flux[shared] == 0
    assert total.ivar[shared] == 0
    assert total.pixel_flags[shared] & ApogeePixel.CRPIX
    single = int(np.rint(APSTAR_GRID.pixel_of(visits[0].wavelength[at - 500])))
    assert total.n_visits[single] == 2
    assert total.n_visits[single + 300] == 3
    used = total.ivar > 0
    assert np.abs((total.flux - expected(0.0)) * np.sqrt(total.ivar))[used].max() < 12.0


def test_errors_of_the_sum_are_those_of_its_inputs_and_weights_favour_the_better():
    visits = [
        rest_visit(make_visit(v, snr, seed), v)
        for seed, (v, snr) in enumerate([(0, 20), (30, 60), (-50, 60)])
    ]
    total = combine(visits)
    inside = (total.n_visits == 3) & (np.abs(APSTAR_GRID.wavelength - 16100.0) < 200.0)
    expected_ivar = sum(visit.ivar for visit in visits)
    assert np.median(total.ivar[inside] / expected_ivar[inside]) == pytest.approx(1.0, abs=0.02)
    smooth = combine(visits, smooth_weights=True)
    assert np.median(smooth.ivar[inside] / total.ivar[inside]) == pytest.approx(1.0, abs=0.02)
    assert (smooth.ivar[inside] <= 1.001 * total.ivar[inside]).all()


def test_clipping_leaves_out_what_one_visit_alone_has():
    visits = [make_visit(0.0, 80.0, seed) for seed in range(4)]
    at = 4096 + 2000
    visits[1].flux[at] *= 6.0
    at_rest = [rest_visit(visit, 0.0) for visit in visits]
    near = np.abs(APSTAR_GRID.wavelength - visits[0].wavelength[at]) < 0.3
    plain, clipped = (combine(at_rest, clip=clip) for clip in (False, True))
    assert np.abs((plain.flux - expected(0.0)) * np.sqrt(plain.ivar))[near].max() > 20.0
    assert np.abs((clipped.flux - expected(0.0)) * np.sqrt(clipped.ivar))[near].max() < 7.0
    assert (clipped.n_visits != plain.n_visits).sum() < 20


def test_errors_grow_where_persistence_and_sky_are():
    plain = rest_visit(make_visit(0.0, 100.0, 1), 0.0)
    for bit, factor in INFLATION.items():
        marked = rest_visit(make_visit(0.0, 100.0, 1, flags=np.full(3 * 4096, int(bit))), 0.0)
        used = plain.ivar > 0
        assert np.sqrt(plain.ivar[used] / marked.ivar[used]) == pytest.approx(factor)


def test_nothing_to_sum_is_refused_and_empty_visits_are_void():
    with pytest.raises(ValueError, match="one visit"):
        combine([])
    with pytest.raises(ValueError, match="finite velocity"):
        rest_visit(make_visit(0.0, 10.0, 1), np.nan)
    visit = make_visit(0.0, 10.0, 1)
    void = rest_visit(Visit(visit.wavelength, visit.chip, visit.flux, 0 * visit.ivar, visit.pixel_flags), 0.0)
    assert not void.good.any()
    assert not combine([void]).flux.any()
    assert np.isnan(smooth_continuum(np.ones(5), np.zeros(5, dtype=bool))).all()
    assert smooth_continuum(np.ones(5), np.ones(5, dtype=bool)) == pytest.approx(1.0)


def test_real_visits_give_the_rows_of_the_survey_s_stars(shared_data):
    folder = shared_data / "apogee"
    with (folder / "VISITMAP.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["in_apStar"] == "True"]
    for path in sorted(folder.glob("apStar-*.fits")):
        star = read_ap_star(path)
        mine = []
        for row in (row for row in rows if path.stem.split("-", 2)[2] in row["local_file"]):
            visit = read_ap_visit(folder / row["local_file"])
            index = star.sources.index(row["sdss_name"])
            planes = (visit.flux[0], visit.ivar[0], visit.pixel_flags[0])
            mine.append(rest_visit(Visit(visit.wavelength, visit.chip, *planes), star.v_rel[index]))
            compare(mine[-1], star, index, mine[-1].good, 0.998)
        total = combine(mine)
        compare(total, star, 0, total.ivar > 0, 0.985)


def compare(ours, star, row, good, correlation):
    """Pixels that are bad in neither, and neither sky lines nor ghost in either."""
    void = int(APOGEE_BAD_FOR_VELOCITY)
    good = good & ~star.bad[row] & ((star.pixel_flags[row] & void) == 0) & ((ours.pixel_flags & void) == 0)
    assert good.sum() > 6000
    assert np.corrcoef(ours.flux[good], star.flux[row][good])[0, 1] > correlation
    assert np.median(ours.flux[good] / star.flux[row][good]) == pytest.approx(1.0, abs=0.01)


def test_operator_reproduces_what_the_resolution_holds_and_its_weights_add_up():
    x = np.linspace(100.3, 3900.2, 3000)
    operator = sinc_operator(x, 4096, 4.25)
    pixel = np.arange(4096.0)
    smooth = [
        1.0 + 0.5 * np.exp(-0.5 * ((at - 1500.0) / 4.0) ** 2) + 0.1 * np.sin(at / 30.0) for at in (pixel, x)
    ]
    assert operator.value(smooth[0]) == pytest.approx(smooth[1], abs=1e-5)
    assert operator.weight.sum(axis=1) == pytest.approx(1.0)
    assert operator.variance(np.ones(4096)) == pytest.approx((operator.weight**2).sum(axis=1))
    noise = np.random.default_rng(1).standard_normal(4096)
    assert operator.value(noise).std() ** 2 == pytest.approx(operator.variance(np.ones(4096)).mean(), rel=0.1)
    outside = sinc_operator(np.array([np.nan, -3.0, 5000.0]), 4096, 4.25)
    assert not outside.value(np.ones(4096)).any()
    with pytest.raises(ValueError, match="at least 2 pixels"):
        sinc_operator(x, 4096, 1.0)


def test_bits_are_set_where_their_share_is_large():
    bits = np.zeros(200, np.int64)
    bits[100:103], bits[150] = 1 << 9, 1 | 1 << 12
    operator = sinc_operator(np.arange(50.0, 200.0), 200, 3.5)
    planes = [((bits >> bit) & 1).astype(float) for bit in range(15)]
    expected = sum((operator.value(plane) > 0.1).astype(np.int64) << bit for bit, plane in enumerate(planes))
    assert np.array_equal(operator.mask(bits), expected)
    assert expected.any()


def test_kernels_are_those_of_plain_arrays():
    first, weight = np.zeros(3, np.int64), np.zeros((3, 21))
    position = np.array([30.0, 30.5, 3.2])
    fill_taps.py_func(position, 60, 4.0, first, weight)
    for x, start, row in zip(position, first, weight, strict=True):
        distance = start + np.arange(21) - x
        kernel = np.sinc(distance / 2.0) * np.exp(-((distance / 6.5) ** 2))
        assert row == pytest.approx(kernel / kernel.sum(), abs=1e-9)
    values, result = np.arange(60.0), np.empty(3)
    apply_taps.py_func(first, weight, values, False, result)
    assert result == pytest.approx([weight[i] @ values[first[i] : first[i] + 21] for i in range(3)])
    bits, found = np.full(60, 5, np.int64), np.zeros(3, np.int64)
    apply_bits.py_func(first, weight, bits, 0.1, found)
    assert found.tolist() == [5, 5, 5]
    assert share_of_bit.py_func(weight[0], bits, 0, 4) == pytest.approx(1.0)
