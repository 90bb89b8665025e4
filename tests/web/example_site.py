"""A small night for the pages: tasks that ended in all ways, alerts with stamps, hostile texts."""

import json
from dataclasses import dataclass

import numpy as np
from sqlalchemy import insert

from astra.database import state
from astra.database.engine import get_engine, transaction
from astra.database.spectra import write_signal_to_noise
from astra.database.survey import (
    definition_table,
    exposure_table,
    raw_table,
    region_table,
    system_table,
    visit_table,
)
from astra.sky.grouping import ONE_TO_ONE
from astra.sky.regions import convex_hull, encode
from astra.web.pixels import encode_png
from tests.alerts.simple import write
from tests.alerts.stamped import stamped
from tests.cli.rows import NOW, end, record, start_run
from tests.database.apdb_visits import BASE, EPOCH, make_visit, object_positions, store
from tests.products.synthetic_spectra import write_spec

INSTRUMENT, NIGHT, DETECTOR = "camera", 20261120, 1
VISITS = (101, 102, 103)
SCRIPT = "<script>window.harmed=1</script>"
IMAGE = "\"'><img src=x onerror=window.harmed=1>"
FORMULA = '=HYPERLINK("http://evil.example";"open")'
SECRET = "what no page may show"  # noqa: S105


@dataclass(frozen=True)
class Example:
    """What the pages of the site are about."""

    url: str
    root: object
    failed: str
    done: str
    blocked: str
    batch: str
    hostile: str
    object_id: int
    source_ids: tuple
    products: dict
    spectrum: int


def make_example(root, url=None):
    """Write the site below a folder; the database is a file there, or one at a URL."""
    root.mkdir(parents=True, exist_ok=True)
    url = url or f"sqlite:///{root / 'astra.db'}"
    get_engine(url)
    with transaction(url) as connection:
        _write_survey(connection)
        sources = _write_apdb(connection)
        run = start_run(connection, f"luigi --module astra ApNight {SCRIPT}")
        names = _write_tasks(connection, run, root)
        spectrum = _write_spectrum(connection, run, root)
    for visit in VISITS:
        write(root, [stamped(one, diaObjectId=BASE, visit=visit) for one in sources[visit]], visit, DETECTOR)
    first = tuple(int(sources[visit][0]) for visit in VISITS)
    return Example(url, root, **names, object_id=BASE, source_ids=first, spectrum=spectrum)


def _write_survey(connection):
    connection.execute(
        insert(system_table), [{"instrument": INSTRUMENT, "visit_system": ONE_TO_ONE, "name": "one-to-one"}]
    )
    ra, dec = object_positions(np.array([0, 99, 999, 900]))
    region = encode(convex_hull(ra, dec))
    for number, visit in enumerate(VISITS):
        key = {"instrument": INSTRUMENT, "visit": visit, "visit_system": ONE_TO_ONE}
        times = {"begin_mjd_tai": EPOCH + visit - 1e-4, "end_mjd_tai": EPOCH + visit + 1e-4}
        common = {"day_obs": NIGHT, "seq_num": number, "band": "r", "physical_filter": "r", **times}
        common |= {"exposure_time_s": 30.0, "target_name": SCRIPT, "science_program": "s"}
        common |= {"observation_reason": "science", "zenith_angle": 30.0, "azimuth": 10.0}
        exposure = {
            "instrument": INSTRUMENT, "exposure": visit, "obs_id": f"o{visit}", "seq_start": number,
            "seq_end": number, "observation_type": "science", "group_name": "g", "can_see_sky": True,
        }  # fmt: skip
        connection.execute(insert(exposure_table), [exposure | common])
        raw = {"instrument": INSTRUMENT, "exposure": visit, "detector": DETECTOR, "path": f"{visit}.fits"}
        connection.execute(insert(raw_table), [raw | {"size": 1, "modified_ns": 1, "checksum": "c"}])
        connection.execute(
            insert(visit_table),
            [key | common | {"name": f"v{visit}", "region": region, "region_source": "x"}],
        )
        connection.execute(insert(definition_table), [key | {"exposure": visit}])
        connection.execute(insert(region_table), [key | {"detector": DETECTOR, "region": region}])


def _write_apdb(connection):
    sources = {}
    for visit in VISITS:
        objects = list(range(3))
        store(connection, visit, objects, objects, band="r")
        sources[visit] = make_visit(visit, objects)[1]["diaSourceId"].tolist()
    return sources


def _write_tasks(connection, run, root):
    place = {"instrument": INSTRUMENT, "visit": str(VISITS[0]), "detector": str(DETECTOR)}
    done = end(connection, run, record("ProcessCcd", place), 1, figures={"ProcessCcd:psf.fwhm": 4.2})
    hostile = end(
        connection, run, record("Hostile", {"name": SCRIPT, "title": IMAGE, "cell": FORMULA}), 30,
        error_class="FormatError", message=f"key {SCRIPT}{IMAGE} is not there",
        traceback=f"Traceback\n  {SCRIPT}", log=f"line one\n{SCRIPT}\n\x1b]0;title\x07",
        context={SCRIPT: IMAGE},
    )  # fmt: skip
    failed = end(
        connection, run, record("DiffIm", place), 30, error_class="TooFewSourcesError",
        message="3 sources are usable for PSF matching, but 10 are required", traceback="Traceback ...",
        log="looking for stars",
    )  # fmt: skip
    blocked = end(connection, run, record("Associate", place), 0)
    running = end(connection, run, record("GetTemplate", place), 2)
    keys = state.task_keys(connection, [failed, blocked, done, running])
    state.link_dependencies(connection, [(blocked, failed), (failed, done), (failed, running)])
    batch = end(
        connection, run, record("DiffIm", place | {"detector": "[1, 2]"}, 2), 30, message="1 member failed"
    )
    state.link_batch(connection, batch, [failed])
    products = _write_products(connection, root, keys[done])
    return {
        "failed": failed,
        "done": done,
        "blocked": blocked,
        "batch": batch,
        "hostile": hostile,
        "products": products,
    }


def _write_products(connection, root, key):
    """Write files and their rows: a picture, one outside the root, a link out of it, a strange name."""
    inside = root / "products"
    inside.mkdir(exist_ok=True)
    outside = root.parent / "outside.txt"
    outside.write_text(SECRET)
    (inside / "picture.png").write_bytes(encode_png(np.full((4, 5), 99, np.uint8)))
    (inside / "table.csv").write_text("a,b\n1,2\n")
    (inside / "link.txt").symlink_to(outside)
    (root / "secret.db").write_text(SECRET)
    paths = {
        "picture": inside / "picture.png", "table": inside / "table.csv", "link": inside / "link.txt",
        "outside": outside, "climbs": f"{inside}/../../outside.txt", "kind": root / "secret.db",
        "passwd": "/etc/passwd", "missing": inside / f"{SCRIPT.replace('/', '')}.fits",
    }  # fmt: skip
    rows = [
        {
            "pk": number, "path": str(path), "kind": name, "size": 3, "checksum": "0" * 64, "created": NOW,
            "modified_ns": 1, "task_pk": key,
        }
        for number, (name, path) in enumerate(paths.items(), 1001)
    ]  # fmt: skip
    connection.execute(insert(state.product_table), rows)
    return {row["kind"]: row["pk"] for row in rows}


def _write_spectrum(connection, run, root):
    folder = root / "spectra"
    folder.mkdir(exist_ok=True)
    path = folder / "spec-1-2-3.fits"
    write_spec(path)
    task_id = end(connection, run, record("SignalToNoise", {"path": str(path)}), 1)
    row = {"row_index": 0, "product": "spec", "path": str(path), "kind": "coadd", "flags": 0, "snr": 20.0}
    write_signal_to_noise(connection, {task_id: [row | {"n_pixels": 4648, "n_good": 4600}]})
    return state.task_keys(connection, [task_id])[task_id]


def as_json(example):
    """What a script needs to know of the site."""
    names = ("failed", "done", "blocked", "batch", "hostile")
    return json.dumps(
        {name: getattr(example, name) for name in names}
        | {"object": str(example.object_id), "sources": [str(one) for one in example.source_ids]}
        | {"spectrum": example.spectrum, "night": NIGHT, "instrument": INSTRUMENT, "visit": VISITS[0]}
    )
