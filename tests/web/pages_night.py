"""A small night in a database and in files, without running anything; and a strict reader of pages."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from sqlalchemy import insert

from astra.database.efficiency import efficiency_table, search_table
from astra.database.engine import transaction
from astra.database.models.apdb import apdb_marker, dia_forced_source, dia_object, dia_source
from astra.database.state import metadata_table, product_table, task_keys
from astra.database.survey import (
    definition_table,
    exposure_table,
    raw_table,
    region_table,
    system_table,
    visit_table,
)
from astra.products.exposures import write_exposure
from astra.sky.regions import convex_hull, encode
from tests.alerts import stamped
from tests.alerts.simple import write
from tests.cli import rows

NIGHT, CAMERA, VISIT, DETECTOR, FAILED = 20261120, "cam", 12, 3, 4
HOSTILE = "<script>alert('x')</script>\"&'><img src=x onerror=alert(1)>"
OBJECT, SOURCE = 50, 7
CORNERS = ((149.51, 2.24), (149.49, 2.24), (149.49, 2.26), (149.51, 2.26))
MJD = 61364.25
VOID = {"meta", "link", "br", "img", "hr", "input"}


def database_url(root):
    return f"sqlite:///{root}/astra.db"


def fill_night(root, *, text="simulated field", with_products=True, url=None):
    """Write a night of one visit with a detector that is done and one that failed; return the URL."""
    url = url or database_url(root)
    with transaction(url) as connection:
        _survey(connection, text)
        run = rows.start_run(connection)
        done = _task(connection, run, "ProcessCcd", DETECTOR, 1)
        package = _task(connection, run, "PackageAlerts", DETECTOR, 1)
        _task(connection, run, "ProcessCcd", FAILED, 30, error_class="AlgorithmError", message=text)
        _figures(connection, done, _calibration(text))
        _figures(connection, package, {"PackageAlerts:package.nAlerts": 1})
        if with_products:
            difference = _task(connection, run, "DiffIm", DETECTOR, 1)
            _figures(connection, difference, {"DiffIm:subtract.pixelScatter": 1.02})
            _products(connection, root, done, difference)
        _apdb(connection)
        _search(connection)
    write(Path(root), [stamped.stamped(SOURCE, angle_deg=40.0)], VISIT, DETECTOR)
    return url


def _survey(connection, text):
    key = {"instrument": CAMERA, "exposure": VISIT}
    shot = {
        "day_obs": NIGHT, "seq_num": 1, "band": "r", "physical_filter": text, "exposure_time_s": 30.0,
        "observation_reason": text, "target_name": text, "science_program": text,
        "begin_mjd_tai": MJD - 1e-4, "end_mjd_tai": MJD + 1e-4, "zenith_angle": 30.0,
    }  # fmt: skip
    further = {"obs_id": "o", "seq_start": 1, "seq_end": 1, "observation_type": "science", "group_name": "g",
               "can_see_sky": True}  # fmt: skip
    _insert(connection, exposure_table, {**key, **shot, **further})
    region = encode(convex_hull(*zip(*CORNERS, strict=True)))
    raw = {"path": "raw.fits", "size": 1, "modified_ns": 1, "checksum": "c", "region": region}
    system = {"instrument": CAMERA, "visit_system": 0}
    _insert(connection, system_table, {**system, "name": "one-to-one"})
    _insert(connection, visit_table, {**system, "visit": VISIT, "name": text, **shot, "region": region,
                                      "region_source": "test"})  # fmt: skip
    _insert(connection, definition_table, {**system, "visit": VISIT, "exposure": VISIT})
    for detector in (DETECTOR, FAILED):
        _insert(connection, raw_table, {**key, "detector": detector, **raw})
        _insert(connection, region_table, {**system, "visit": VISIT, "detector": detector, "region": region})


def _insert(connection, table, row):
    connection.execute(insert(table), [{name: value for name, value in row.items() if name in table.c}])


def _task(connection, run, family, detector, code, **details):
    parameters = {"instrument": CAMERA, "visit": str(VISIT), "detector": str(detector)}
    task_id = rows.end(connection, run, rows.record(family, parameters), code, **details)
    return task_keys(connection, [task_id])[task_id]


def _figures(connection, task_pk, figures):
    made = [{"task_pk": task_pk, "key": key, "value": value} for key, value in figures.items()]
    connection.execute(insert(metadata_table), made)


def _calibration(text):
    figures = {"psfSigma": 2.0, "pixelScale": 0.25, "zeroPoint": 30.5, "magLim": 24.0, "skyBg": 100.0}
    for k, (ra, dec) in enumerate(CORNERS, 1):
        figures |= {f"raCorners{k}": ra, f"decCorners{k}": dec}
    summary = {f"ProcessCcd:summary.{name}": value for name, value in figures.items()}
    calibrate = {"zero_point_scatter_mag": 0.05, "n_sources": 20, "astrometry_scatter_ra_arcsec": 0.03,
                 "astrometry_scatter_dec_arcsec": 0.04, "note": text,
                 "url": "postgresql://me:secret@host/db"}  # fmt: skip
    return summary | {f"ProcessCcd:calibrate.{name}": value for name, value in calibrate.items()}


def _products(connection, root, calibration, difference):
    made = {"calexp": calibration, "matchedTemplate": difference, "diffexp": difference}
    for seed, (kind, task_pk) in enumerate(made.items()):
        path = Path(root) / "products" / CAMERA / str(VISIT) / str(DETECTOR) / f"task_{kind}" / f"{kind}.fits"
        write_exposure(path, stamped.exposure(stamped.rotated_wcs(10.0), [(1.0, 2.0, 400.0)], seed))
        row = {"path": str(path), "kind": kind, "size": path.stat().st_size, "checksum": "c",
               "created": rows.NOW, "task_pk": task_pk}  # fmt: skip
        connection.execute(insert(product_table), [row])


def _apdb(connection):
    source = stamped.stamped(SOURCE)["diaSource"] | {
        "diaObjectId": OBJECT, "visit": VISIT, "detector": DETECTOR, "midpointMjdTai": MJD, "snr": 20.0,
        "reliability": 0.98, "psfFlux": 5000.0, "pixelId": 1,
    }  # fmt: skip
    fainter = source | {
        "diaSourceId": 8,
        "diaObjectId": 51,
        "snr": 6.0,
        "reliability": 0.2,
        "psfFlux": -900.0,
    }
    dull = source | {"diaSourceId": 9, "diaObjectId": OBJECT, "snr": 30.0, "reliability": None}
    withdrawn = source | {"diaSourceId": 10, "diaObjectId": 52, "timeWithdrawnMjdTai": MJD}
    for row in (source, fainter, dull, withdrawn):
        _insert(connection, dia_source, row)
    for name in (OBJECT, 51):
        counts = {f"{band}_psfFluxNdata": 0 for band in "ugrizy"}
        _insert(connection, dia_object, {"diaObjectId": name, "validityStartMjdTai": MJD, "ra": 149.5,
                                         "dec": 2.25, "nDiaSources": 1, "pixelId": 1, **counts})  # fmt: skip
    forced = {"diaForcedSourceId": 1, "diaObjectId": OBJECT, "ra": 149.5, "dec": 2.25, "visit": 11,
              "detector": DETECTOR, "psfFlux": 50.0, "psfFluxErr": 60.0, "midpointMjdTai": MJD - 3.0,
              "band": "g", "timeProcessedMjdTai": MJD}  # fmt: skip
    _insert(connection, dia_forced_source, forced)
    marker = {"instrument": CAMERA, "visit": VISIT, "detector": DETECTOR, "task_id": "a", "band": "r",
              "midpointMjdTai": MJD, "timeProcessedMjdTai": MJD + 0.001, "n_dia_sources": 3,
              "n_new_objects": 2, "n_updated_objects": 0, "n_forced_sources": 1}  # fmt: skip
    _insert(connection, apdb_marker, marker)


def _search(connection):
    depth = {"task_id": "m", "instrument": CAMERA, "day_obs": NIGHT, "band": "r", "mag50": 23.4,
             "mag50_err": 0.1, "mag90": 22.8, "plateau": 0.98, "width_mag": 0.3, "n_injected": 40,
             "n_found": 30, "n_false": 2, "created": rows.NOW}  # fmt: skip
    pk = connection.execute(insert(search_table).values(depth).returning(search_table.c.pk)).scalar_one()
    bins = [("mag", 21.0, 22.0, 20, 20), ("mag", 22.0, 23.0, 20, 10), ("snr", 5.0, None, 40, 30)]
    for quantity, low, high, n, found in bins:
        part = found / n
        _insert(connection, efficiency_table, {
            "search_pk": pk, "quantity": quantity, "low": low, "high": high, "n_injected": n,
            "n_found": found,
            "completeness": part, "completeness_low": part - 0.05, "completeness_high": min(part + 0.05, 1.0),
            "n_false": 1,
        })  # fmt: skip


@dataclass
class Page(HTMLParser):
    """A page whose elements must close in the order in which they open."""

    text: str
    open: list = field(default_factory=list)
    links: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    attributes: list = field(default_factory=list)
    words: list = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)
        self.feed(self.text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.links += [value for name, value in attrs if name in {"href", "src"}]

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)


def read_pages(folder):
    """Every page of a report, by its path in the folder."""
    return {
        str(path.relative_to(folder)): Page(path.read_text()) for path in sorted(Path(folder).rglob("*.html"))
    }
