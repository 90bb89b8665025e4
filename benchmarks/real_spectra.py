"""How well the real spectra of the survey come out, and the pulls of velocities of simulated ones.

    python benchmarks/real_spectra.py [--spectra 400]

Prints, for the APOGEE stars of DR13 and the BOSS quasar beside the project (../shared/data): the correlation
and the flux ratio of every summed star with the survey's own (visits brought to rest with the velocities in
its apStar file), velocities of the visits against those of the survey, found with the star's own sum as the
template and without any template, barycentric corrections and signal-to-noise ratios against the headers,
and redshifts of the quasar's epochs. Pixels that count are those that neither side calls bad, sky lines and
ghosts aside; their number is in the table. The velocity of a visit's own header is never used.
"""

# ruff: noqa: I001

import argparse
import csv
import sys
from pathlib import Path

import astra  # noqa: F401  # before numpy, so that it sets the number of threads
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from astra.products.spectra import read_ap_star, read_ap_visit, read_spec
from astra.spectra.barycentric import SITES, barycentric_correction
from astra.spectra.coadd import Visit, combine, rest_visit
from astra.spectra.deposit import Deposit
from astra.spectra.grid import APSTAR_GRID, LogGrid, log_grid_of
from astra.spectra.masks import APOGEE_BAD_FOR_VELOCITY
from astra.spectra.quasars import quasar_class
from astra.spectra.radial_velocity import measure_velocities, prepare_spectra
from astra.spectra.redshift import fit_redshifts
from astra.spectra.snr import reduction_signal_to_noise
from astra.spectra.star_velocities import measure_star
from astra.spectra.templates import make_templates
from astra.spectra.velocities import SPEED_OF_LIGHT_KMS
from tests.spectra.synthetic_stars import Star, observe

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
VOID = int(APOGEE_BAD_FOR_VELOCITY)


def agreement(ours, star, row, good):
    """Correlation, median flux ratio and number of the pixels that count."""
    good = good & ~star.bad[row] & ((star.pixel_flags[row] & VOID) == 0) & ((ours.pixel_flags & VOID) == 0)
    mine, theirs = ours.flux[good], star.flux[row][good]
    return np.corrcoef(mine, theirs)[0, 1], np.median(mine / theirs), int(good.sum())


def velocities_with_own_sum(star, spectra):
    """Velocity of each visit with the star's own sum as the template [km/s]."""
    template = make_templates(
        APSTAR_GRID, star.wavelength, star.flux[:1], np.where(star.bad, 0, star.ivar)[:1]
    )
    parts = []
    for visit in spectra:
        bad = visit.bad | ((visit.pixel_flags & VOID) != 0)
        parts.append(prepare_spectra(APSTAR_GRID, visit.wavelength, visit.flux, visit.ivar, bad))
    return np.array([measure_velocities(part, template).v_rel[0] for part in parts])


def stars(folder):
    """Print a row for each star of the survey."""
    with (folder / "VISITMAP.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["in_apStar"] == "True"]
    print(
        "star                     visits  correlation of rows   of the sum  flux ratio   pixels  "
        "largest velocity difference [km/s]: own sum, relative, no template"
    )
    for path in sorted(folder.glob("apStar-*.fits")):
        star, name = read_ap_star(path), path.stem.split("-", 2)[2]
        own = [row for row in rows if name in row["local_file"]]
        spectra = [read_ap_visit(folder / row["local_file"]) for row in own]
        index = [star.sources.index(row["sdss_name"]) for row in own]
        visits = [Visit(s.wavelength, s.chip, s.flux[0], s.ivar[0], s.pixel_flags[0]) for s in spectra]
        at_rest = [rest_visit(visit, v) for visit, v in zip(visits, star.v_rel[index], strict=True)]
        each = [agreement(row, star, k, row.good)[0] for row, k in zip(at_rest, index, strict=True)]
        total = combine(at_rest)
        correlation, ratio, n_pixels = agreement(total, star, 0, total.ivar > 0)
        of_sum = velocities_with_own_sum(star, spectra) - star.v_rel[index]
        alone = measure_star(visits, star.bc[index]).v_rel - star.v_rel[index]
        print(
            f"{name:24s} {len(own):6d}  {min(each):9.4f} to {max(each):.4f}  {correlation:11.4f}"
            f"  {ratio:10.4f}  {n_pixels:7d}  {np.abs(of_sum).max():8.3f}"
            f"  {np.abs(of_sum - of_sum.mean()).max():.3f}  {np.abs(alone - alone.mean()).max():.3f}"
        )


def headers(folder):
    """Print what is compared with headers."""
    visits = [read_ap_visit(path) for path in sorted(folder.glob("apVisit-*.fits"))]
    ra, dec = (np.array([visit.meta[key] for visit in visits]) for key in ("RA", "DEC"))
    jd = np.concatenate([visit.jd_mid for visit in visits])
    ours = barycentric_correction(ra, dec, jd, SITES["apo25m"])
    off = 1e3 * np.abs(ours - np.concatenate([visit.bc for visit in visits]))
    middle, most = np.median(off), off.max()
    print(f"barycentric corrections of {len(visits)} visits: median {middle:.1f}, most {most:.1f} m/s off")
    measured = [reduction_signal_to_noise(s.flux, s.ivar, s.has_data & (s.chip == 1))[0] for s in visits]
    off = np.abs(np.array(measured) / [s.snr[0] for s in visits] - 1.0)
    print(f"S/N of their headers: most {100 * off.max():.5f} % off")


def quasars(folder):
    """Print the redshifts of the epochs of a quasar."""
    for path in sorted(folder.glob("spec-733*.fits")):
        spec = read_spec(path)
        grid = log_grid_of(spec.wavelength)
        rest = LogGrid(grid.start, 1e-4, grid.n_pixels)
        found = fit_redshifts(rest, spec.flux, np.where(spec.bad, 0.0, spec.ivar), [quasar_class()])
        z, z_err, published = found.z[0], found.z_err[0], spec.catalogue["Z"]
        off = SPEED_OF_LIGHT_KMS * (z - published) / (1.0 + published)
        print(f"{path.stem}: z {z:.5f} +- {z_err:.5f}, published {published:.5f}, {off:+.0f} km/s")


def pulls(n_spectra):
    """Print the pulls of velocities of simulated spectra with sky residuals and cosmic rays."""
    star = Star()
    flux = np.stack([star(APSTAR_GRID.wavelength, sigma_kms=width) for width in (7.0, 9.0, 14.0)])
    templates = make_templates(APSTAR_GRID, APSTAR_GRID.wavelength, flux)
    print(
        "simulated, with sky residuals, cosmics     S/N  spectra  pull mean  pull rms  largest  error [km/s]"
    )
    for snr in (12.0, 60.0, 100.0):
        rng = np.random.default_rng(int(snr))
        truth, parts = rng.uniform(-150.0, 150.0, n_spectra), []
        for velocity in truth:
            wavelength, own, ivar, flags = observe(star, velocity, snr, rng, sky=True, cosmics=True)
            parts.append(prepare_spectra(APSTAR_GRID, wavelength, own[None], ivar[None], (flags != 0)[None]))
        found = measure_velocities(Deposit.stack(parts), templates)
        pull = (found.v_rel - truth) / found.v_rel_err
        print(
            f"{'':40s} {snr:5.0f}  {n_spectra:7d}  {pull.mean():9.3f}  {pull.std():8.3f}"
            f"  {np.abs(pull).max():7.2f}  {np.median(found.v_rel_err):.3f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spectra", type=int, default=400, help="simulated spectra at each S/N")
    given = parser.parse_args()
    if DATA.is_dir():
        stars(DATA / "apogee")
        headers(DATA / "apogee")
        quasars(DATA / "boss")
    else:
        print("the real spectra are not beside the project (../shared/data)")
    pulls(given.spectra)


if __name__ == "__main__":
    main()
