import json
from pathlib import Path

import luigi
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from sqlalchemy import text

from astra.cli import main
from astra.database.engine import reading
from astra.products.spectra import read_ap_star, read_spec
from astra.products.spectral_models import read_cannon_model, write_spectral_classes, write_template_spectra
from astra.products.spectrum_files import write_planes
from astra.spectra.barycentric import SITES, barycentric_correction
from astra.spectra.continuum import fit_continuum
from astra.spectra.flags import SpectrumFlag
from astra.spectra.grid import APSTAR_GRID
from astra.spectra.quasars import quasar_class
from astra.spectra.velocities import compose, remove
from astra.tasks.spectra.combine_visits import CombineVisits
from astra.tasks.spectra.continuum import ContinuumNormalize
from astra.tasks.spectra.export_results import ExportResults
from astra.tasks.spectra.lines_and_labels import ClassifySpectrum, MeasureLines, TheCannon
from astra.tasks.spectra.signal_to_noise import SignalToNoise
from astra.tasks.spectra.train_cannon import TrainTheCannon
from astra.tasks.spectra.train_templates import TrainTemplates
from astra.tasks.spectra.velocities import BarycentricCorrection, RadialVelocity
from tests.products.synthetic_spectra import write_ap_star, write_ap_visit, write_spec
from tests.spectra.synthetic_stars import Star, observe
from tests.spectra.test_redshift import galaxy

STAR = Star()
RA, DEC, JD = 83.0, 22.0, 2459146.75


def write_visit(path, v_rad, day=0, seed=1, snr=60.0):
    """A visit of the star on a day, from Apache Point; return its barycentric correction."""
    bc = float(
        barycentric_correction(np.array([RA]), np.array([DEC]), np.array([JD + day]), SITES["apo25m"])[0]
    )
    seen = observe(STAR, float(remove(v_rad, bc)), snr, np.random.default_rng(seed), sky=True, cosmics=True)
    wavelength, flux, ivar, flags = (plane.reshape(3, 4096)[::-1, ::-1] for plane in seen)
    path.unlink(missing_ok=True)
    write_ap_visit(path, n_pixels=4096, RA=RA, DEC=DEC, VRAD=999.0, **{"JD-MID": JD + day})
    with fits.open(path, mode="update") as file:
        for number, plane in ((1, flux.astype("f4")), (2, ivar.astype("f4") ** -0.5), (4, wavelength)):
            file[number].data = plane
        file[3].data = flags.astype(np.int16)
    return bc


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", no_lock=True)


def rows(root, table):
    with reading(f"sqlite:///{root / 'astra.db'}") as connection:
        query = text(f"SELECT * FROM {table} ORDER BY path, row_index")  # noqa: S608  # names of this file
        return [dict(row) for row in connection.execute(query).mappings()]


@pytest.fixture
def visits(astra_root):
    """Four visits of one star at 20 km/s, one cut off, and its template."""
    paths = [astra_root / f"apVisit-r1-1-{59146 + 40 * i}-{i:03}.fits" for i in range(4)]
    for number, path in enumerate(paths):
        write_visit(path, 20.0, day=40 * number, seed=number)
    cut = astra_root / "cut.fits"
    cut.write_bytes(paths[0].read_bytes()[:100_000])
    template = astra_root / "templates.npz"
    wavelength = np.arange(15000.0, 17100.0, 0.05)
    write_template_spectra(
        template, wavelength, np.stack([STAR(wavelength), STAR(wavelength, sigma_kms=15)]), ["a", "b"]
    )
    return [*map(str, paths), str(cut)], str(template)


def test_velocities_of_a_batch_are_those_of_the_simulation_and_a_cut_file_has_a_row(visits, astra_root):
    paths, template = visits
    task = RadialVelocity(product=("apVisit",) * 5, path=tuple(paths), templates=template)
    assert not build(task, BarycentricCorrection(product=("apVisit",) * 5, path=tuple(paths)))
    found = rows(astra_root, "radial_velocity")
    assert len(found) == 5
    whole = [row for row in found if row["flags"] == 0]
    assert [row["path"] for row in found if row["flags"] == SpectrumFlag.READ_FAILED] == [paths[4]]
    assert [row["v_rad"] for row in whole] == pytest.approx([20.0] * 4, abs=0.2)
    assert {row["template"] for row in whole} == {"a"}
    for row in whole:
        assert compose(row["v_rel"], row["bc"]) == pytest.approx(row["v_rad"])
    corrections = [row for row in rows(astra_root, "barycentric_correction") if row["flags"] == 0]
    assert [row["bc"] for row in corrections] == pytest.approx([row["bc"] for row in whole])

    single = RadialVelocity(product="apVisit", path=paths[1], templates=template)
    assert single.complete()
    assert not build(task)
    assert len(rows(astra_root, "radial_velocity")) == 5


def test_continua_of_all_products_become_files(visits, astra_root):
    star = write_ap_star(astra_root / "star.fits", n_visits=2)
    spec = write_spec(astra_root / "spec.fits")
    task = ContinuumNormalize(
        product=("apVisit", "apStar", "spec"), path=(visits[0][0], str(star), str(spec))
    )
    assert build(task)
    found = rows(astra_root, "continuum_fit")
    assert len(found) == 1 + 4 + 1
    assert all(row["n_used"] > 1000 for row in found)
    for target, n_rows in zip(task.output(), (1, 4, 1), strict=True):
        with fits.open(target.path) as file:
            assert file["FLUX"].data.shape == file["IVAR"].data.shape == file["CONTINUUM"].data.shape
            assert len(file["FLUX"].data) == n_rows
            used = file["IVAR"].data > 0
            assert np.median(file["FLUX"].data[used]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("given", [False, True])
def test_sum_of_visits_is_read_back_at_rest(visits, astra_root, given):
    paths, _ = visits
    star = astra_root / "known.fits"
    cards = {}
    for number, path in enumerate(paths[:4], start=1):
        bc = write_visit(Path(path), 20.0, day=40 * (number - 1), seed=number)
        cards.update(
            {
                f"SFILE{number}": f"apVisit-r0-{path.split('-', 2)[2]}",
                f"VREL{number}": float(remove(20.0, bc)),
            }
        )
    write_ap_star(star, n_visits=4, style="dr17", **cards)
    task = CombineVisits(obj="2M05+22", visits=":".join(paths[:4]), velocities_of=str(star) if given else "")
    assert build(task)
    found = read_ap_star(task.output().path)
    assert found.kind == ("coadd", "coadd_global", *["visit"] * 4)
    assert found.v_rad[2:] == pytest.approx([20.0 if given else found.v_rad[2]] * 4, abs=0.6)
    assert found.sources[2:] == tuple(path.rsplit("/", 1)[1] for path in paths[:4])
    used = ~found.bad[0] & (np.abs(APSTAR_GRID.wavelength - 16150.0) < 200.0)
    used &= found.ivar[0] > 0.5 * np.median(found.ivar[0][used])  # no sky lines
    fit = fit_continuum(found.wavelength, found.flux[:1], np.where(used, found.ivar[:1], 0.0))
    normal = (found.flux[0] / fit.continuum[0])[used]
    # Cosmic rays and unflagged sky are in the sum, as in the survey's: medians do not see them.
    away = [
        np.median(np.abs(normal - STAR(APSTAR_GRID.wavelength, v)[used]))
        for v in (np.array([-40.0, 0.0, 40.0]) + (0.0 if given else 20.0))
    ]
    assert away[1] < 0.02
    assert away[1] < 0.75 * min(away[0], away[2])
    assert found.snr[0] > 1.5 * np.nanmean(found.snr[2:])
    stored = rows(astra_root, "combined_visit")
    assert [row["kind"] for row in stored] == list(found.kind)
    with fits.open(task.output().path) as file:
        file.verify("exception")
        assert file[9].data["VREL"] == pytest.approx(found.v_rel[2:])


def test_single_tasks_draw_pictures_that_show_names_and_batches_only_if_asked(visits, astra_root, capsys):
    paths, template = visits
    single = RadialVelocity(product="apVisit", path=paths[0], templates=template)
    batch = {"product": ("apVisit",) * 2, "path": tuple(paths[1:3])}
    plain, drawn = ContinuumNormalize(**batch), SignalToNoise(**batch, pictures=True)
    assert build(single, plain, drawn, CombineVisits(obj="a $b$ <c>", visits=":".join(paths[:3])))
    assert single.picture_path.is_file()
    assert not any(task.picture_path.exists() for task in plain.get_batch_tasks())
    pictures = [task.picture_path for task in drawn.get_batch_tasks()]
    for path in [single.picture_path, *pictures]:
        assert path.read_bytes().startswith(b"\x89PNG")
    [star] = (astra_root / "products").rglob("apStar-a__b*.png")
    assert star.stat().st_size > 20_000

    assert main(["show", "RadialVelocity", f"path={paths[0]}", f"templates={template}"]) == 0
    shown = capsys.readouterr().out
    assert f"pictures\n  {single.picture_path}" in shown
    assert main(["show", str(pictures[1])]) == 0
    assert drawn.member_ids()[1] in capsys.readouterr().out
    assert main(["show", "SignalToNoise", "path=/nowhere.fits"]) != 0
    assert "no task of family SignalToNoise has path=/nowhere.fits" in capsys.readouterr().err
    assert main(["show", "SignalToNoise", "nonsense"]) != 0


def test_every_analysis_of_a_boss_spectrum_has_a_picture(astra_root):
    path = str(write_spec(astra_root / "spec.fits"))
    classes = astra_root / "classes.npz"
    write_spectral_classes(classes, [quasar_class(z_max=0.5)])
    tasks = [
        MeasureLines(product="spec", path=path),
        ClassifySpectrum(product="spec", path=path, classes=str(classes)),
        ContinuumNormalize(product="spec", path=path, basis="chebyshev"),
        SignalToNoise(product="spec", path=path),
    ]
    assert build(*tasks)
    assert all(task.picture_path.stat().st_size > 10_000 for task in tasks)
    [row] = rows(astra_root, "line_strength WHERE line = 'NaD'")
    assert row["medium"] == "air"
    assert row["wavelength"] == pytest.approx(5894.7, abs=0.2)
    assert row["fit_flags"] is not None


def test_refused_visits_are_not_measured_and_not_summed(visits, astra_root):
    paths, template = visits
    with fits.open(paths[1], mode="update") as file:
        file[0].header["STARFLAG"] = 1 << 19
    options = {"product": ("apVisit",) * 2, "path": tuple(paths[:2]), "refused_flags": "RV_REJECT"}
    combine = CombineVisits(obj="star", visits=":".join(paths[:3]))
    assert build(RadialVelocity(**options, templates=template), SignalToNoise(**options), combine)
    for table in ("radial_velocity", "signal_to_noise"):
        kept, refused = rows(astra_root, table)
        assert kept["flags"] == 0
        assert refused["flags"] & SpectrumFlag.STAR_FLAGGED
        assert refused["flags"] & SpectrumFlag.NO_DATA
        assert refused["snr" if table == "signal_to_noise" else "v_rel"] is None
    found = rows(astra_root, "combined_visit")
    assert [row["kind"] for row in found] == ["coadd", "coadd_global", "visit", "visit"]
    assert all(row["flags"] == SpectrumFlag.VISITS_REJECTED for row in found)
    assert all(row["v_rel_err"] > 0 for row in found if row["kind"] == "visit")
    wrong = SignalToNoise(product="apVisit", path=paths[0], bad_pixels="NOSUCHBIT")
    assert not build(wrong)


def test_templates_are_trained_from_a_table_with_a_report(astra_root):
    table, lines = astra_root / "training.csv", []
    rng = np.random.default_rng(3)
    for number, z in enumerate(np.linspace(0.02, 0.3, 9)):
        path = write_spec(astra_root / f"s{number}.fits")
        with fits.open(path, mode="update") as file:
            wavelength = 10.0 ** file[1].data["loglam"].astype(float)
            flux = 20.0 * galaxy(wavelength / (1.0 + z), rng.uniform(0.5, 1.5))
            file[1].data["flux"] = flux + rng.standard_normal(flux.size)
            file[1].data["ivar"] = 1.0
        lines.append(f"{path},GALAXY,{z}")
    table.write_text("path,class,z\n" + "\n".join(lines[:4] + lines[5:]) + "\n")
    train = TrainTemplates(training=str(table), n_components=2, n_folds=3)
    assert build(train)
    report = json.loads(Path(train.output()["report"].path).read_text())
    assert report["n_spectra"] == len(report["left_out"]) == 8
    assert report["classes"]["GALAXY"]["right_class"] == 1.0
    assert report["classes"]["GALAXY"]["velocity_sigma_kms"] < 200.0
    assert Path(train.output()["picture"].path).stat().st_size > 20_000
    path, _, z = lines[4].split(",")
    use = ClassifySpectrum(product="spec", path=path, classes=train.output()["classes"].path)
    assert build(use)
    [row] = rows(astra_root, "spectral_classification")
    assert (row["class_name"], row["z"]) == ("GALAXY", pytest.approx(float(z), abs=1e-3))
    table.write_text("path,class\nx,y\n")
    assert not build(TrainTemplates(training=str(table), n_components=3))


def test_star_without_usable_visits_fails_alone_with_a_row(visits, astra_root):
    paths, _ = visits
    task = CombineVisits(obj=("good", "bad"), visits=(":".join(paths[:2]), paths[4]), velocities_of=("", ""))
    assert not build(task)
    found = rows(astra_root, "combined_visit")
    assert [row["flags"] for row in found if row["kind"] == ""] == [int(SpectrumFlag.READ_FAILED)]
    assert len(found) == 5


def test_lines_and_classes_of_boss_spectra(astra_root):
    paths = [str(write_spec(astra_root / f"spec{i}.fits", seed=i)) for i in (3, 4)]
    classes = astra_root / "classes.npz"
    write_spectral_classes(classes, [quasar_class(z_max=1.0)])
    lines = MeasureLines(product=("spec", "spec"), path=tuple(paths), velocity_kms=(0.0, 100.0))
    assert build(lines, ClassifySpectrum(product=("spec", "spec"), path=tuple(paths), classes=str(classes)))
    found = rows(astra_root, "line_strength")
    assert len(found) == 2 * 7
    pulls = np.array([row["width"] / row["width_err"] for row in found])
    assert np.abs(pulls).max() < 5.0  # there are no lines
    classified = rows(astra_root, "spectral_classification")
    assert [row["class_name"] for row in classified] == ["QSO", "QSO"]


def test_own_lines_are_taken_from_a_table(astra_root):
    path = str(write_spec(astra_root / "spec.fits"))
    table = astra_root / "lines.csv"
    table.write_text(
        "name,medium,window_low,window_high,blue_low,blue_high,red_low,red_high\n"
        "one,vacuum,6000,6010,5980,5990,6020,6030\n"
    )
    assert build(MeasureLines(product="spec", path=path, lines=str(table)))
    assert [row["line"] for row in rows(astra_root, "line_strength")] == ["one"]
    table.write_text("name,medium\none,vacuum\n")
    assert not build(MeasureLines(product="spec", path=path, lines=str(table), velocity_kms=1.0))


def test_the_cannon_is_trained_from_a_table_and_finds_labels(astra_root):
    rng = np.random.default_rng(1)
    labels = rng.uniform(-1.0, 1.0, (14, 1))
    paths = []
    for number, (value,) in enumerate(labels):
        path = write_ap_star(
            astra_root / f"star{number}.fits", n_visits=1, style="dr17", SFILE1="apVisit-1.fits"
        )
        with fits.open(path, mode="update") as file:
            lines = STAR(APSTAR_GRID.wavelength)
            flux = 500.0 * (1.0 - (1.0 - lines) * (1.0 + 0.3 * value))
            file[1].data = (flux + 2.0 * rng.standard_normal(flux.size))[None]
            file[2].data = np.full((1, flux.size), 2.0)
        paths.append(str(path))
    table = astra_root / "training.csv"
    table.write_text(
        "path,feh\n" + "".join(f"{p},{v[0]}\n" for p, v in zip(paths[:10], labels, strict=False))
    )
    train = TrainTheCannon(training=str(table), labels="feh")
    assert build(train)
    assert read_cannon_model(train.output().path).names == ("feh",)
    assert train.picture_path.stat().st_size > 10_000
    test = TheCannon(product=("apStar",) * 4, path=tuple(paths[10:]), model=train.output().path)
    assert build(test)
    found = {row["path"]: row for row in rows(astra_root, "stellar_label")}
    assert [found[path]["value"] for path in paths[10:]] == pytest.approx(labels[10:, 0], abs=0.05)
    assert all(row["label"] == "feh" and row["value_err"] < 0.05 for row in found.values())
    single = TheCannon(product="apStar", path=paths[0], model=train.output().path)
    assert build(single)
    assert single.picture_path.stat().st_size > 10_000


def test_results_are_exported_with_units_and_flags(visits, astra_root):
    paths, template = visits
    build(RadialVelocity(product=("apVisit",) * 2, path=(paths[0], paths[4]), templates=template))
    task = ExportResults(table="radial_velocity")
    assert build(task)
    for target in task.output().values():
        table = Table.read(target.path)
        assert len(table) == 2
        assert str(table["v_rel"].unit) == "km / s"
        assert np.ma.masked_invalid(table["v_rad"]).count() == 1
    assert table.meta["flags"]["READ_FAILED"] == 1
    assert "frame of the file" in table["v_rel"].description
    build(RadialVelocity(product="apVisit", path=paths[1], templates=template))
    luigi.build(
        [ExportResults(table="radial_velocity")], local_scheduler=True, log_level="WARNING", no_lock=True
    )
    assert not build(ExportResults(table="task"))


def test_planes_are_written_with_their_units(tmp_path):
    write_planes(tmp_path / "a.fits", np.arange(3.0), {"FLUX": (np.ones((2, 3)), "adu")}, {"ORDER": 3})
    with fits.open(tmp_path / "a.fits") as file:
        assert file["FLUX"].header["BUNIT"] == "adu"
        assert file["WAVELENGTH"].data.tolist() == [0.0, 1.0, 2.0]
        assert file[0].header["ORDER"] == 3


def test_real_stars_and_boss_spectra_pass_through_the_tasks(shared_data, astra_root):
    folder = shared_data / "apogee"
    name = "2M00452143+1634446"
    star = folder / f"apStar-r6-{name}.fits"
    visits = [str(folder / f"apVisit-{name}-{number}.fits") for number in range(3)]
    combine = CombineVisits(obj=name, visits=":".join(visits), velocities_of=str(star))
    measure = RadialVelocity(product=("apVisit",) * 3, path=tuple(visits), templates=str(star))
    assert build(combine, measure)
    theirs, ours = read_ap_star(star), read_ap_star(combine.output().path)
    assert ours.v_rel[2:] == pytest.approx(theirs.v_rel[2:])
    assert [row["v_rel"] for row in rows(astra_root, "radial_velocity")] == pytest.approx(
        theirs.v_rel[2:], abs=0.5
    )
    used = ~ours.bad[0] & ~theirs.bad[0] & (ours.pixel_flags[0] == 0) & (theirs.pixel_flags[0] == 0)
    assert np.corrcoef(ours.flux[0][used], theirs.flux[0][used])[0, 1] > 0.985

    boss = tuple(str(path) for path in sorted((shared_data / "boss").glob("spec-733*.fits")))
    assert build(ClassifySpectrum(product=("spec",) * 2, path=boss))
    classified = rows(astra_root, "spectral_classification")
    assert [row["z"] for row in classified] == pytest.approx([0.4559, 0.4559], abs=1e-3)


def test_boss_spectra_are_measured_against_each_other(shared_data, astra_root):
    path = shared_data / "boss" / "spec-3586-55181-0500.fits"
    spec = read_spec(path)
    template = astra_root / "template.npz"
    rest = spec.wavelength / (1.0 + 100.0 / 299792.458)
    write_template_spectra(template, rest, np.where(spec.bad, np.nan, spec.flux), ["G"])
    assert build(RadialVelocity(product="spec", path=str(path), templates=str(template)))
    [row] = rows(astra_root, "radial_velocity")
    assert row["v_rel"] == pytest.approx(100.0, abs=3.0)
    assert row["v_rad"] == pytest.approx(row["v_rel"])  # its wavelengths are barycentric
