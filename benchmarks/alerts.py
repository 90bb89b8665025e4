"""CPU seconds to make alerts of about 100 kB, beside the ordinary way, and to write 10,000 of one visit.

The ordinary way is what Rubin's packager does: `CCDData.write` for each stamp, and fastavro. Both run in the
same process on the same rows and images; the bytes of the packets are compared with fastavro's. Run from the
project's root: ``python benchmarks/alerts.py``
"""

import io
import multiprocessing
import platform
import resource
import tempfile
import time
from pathlib import Path

import fastavro
import numpy as np
from astropy.nddata import CCDData, VarianceUncertainty
from astropy.wcs import WCS

from astra.alerts.columns import columns_of, record_fields
from astra.alerts.cutout_batch import StampCutter
from astra.alerts.encoder import AlertBatch, Chosen, Related, encode_alerts
from astra.alerts.files import write_encoded
from astra.alerts.packets import Cutouts, make_alert
from astra.alerts.schemas import load_schema
from astra.alerts.wire import encode
from astra.images.exposure import Exposure, MaskPlane, VisitInfo
from astra.images.psf import Psf, gaussian_psf
from astra.products.atomic import write_bytes

SHAPE = (4000, 4072)
N_PRV, N_FORCED = 12, 40  # history of each object
N_DETECTORS, N_PER_DETECTOR = 189, 53  # 10,017 alerts: a visit of the LSST camera
N_ORDINARY = 60


def make_wcs():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.1, 2.2], [SHAPE[1] / 2, SHAPE[0] / 2]
    wcs.wcs.cd = 0.2 / 3600 * np.array([[-0.8, 0.6], [0.6, 0.8]])
    return wcs


def make_exposures(rng):
    """Difference, science and template with PSFs of second order and stamps of 41 pixels."""
    base = gaussian_psf(4.0, 41).coefficients[0]
    terms = np.stack([base, *(0.02 * rng.normal(size=(5, 1, 1)) * base**1.2)])
    psf = Psf(terms, 2, SHAPE[1] / 2, SHAPE[0] / 2, SHAPE[1] / 2)
    info = VisitInfo("simcam", 2026022500123, 94, "r", "r_03", 61096.1, 30.0)
    mask = np.zeros(SHAPE, np.uint32)
    mask[rng.integers(0, SHAPE[0], 5000), rng.integers(0, SHAPE[1], 5000)] = np.uint32(MaskPlane.CR)
    planes = [
        (rng.normal(0, 50, SHAPE).astype(np.float32), rng.uniform(2000, 3000, SHAPE).astype(np.float32))
        for _ in range(3)
    ]
    return {
        name: Exposure(image, variance, mask, info, unit="nJy", wcs=make_wcs(), psf=psf)
        for name, (image, variance) in zip(("difference", "science", "template"), planes, strict=True)
    }


def value(rng, kind):
    if kind in {"int", "long"}:
        return int(rng.integers(0, 2**30 if kind == "int" else 2**62))
    if kind in {"float", "double"}:
        return float(np.float32(rng.normal(0, 1000)))
    return bool(rng.random() < 0.5) if kind == "boolean" else "r"


def make_rows(rng, record, count):
    fields = record_fields(record)
    return [{field.name: value(rng, field.kind) for field in fields} for _ in range(count)]


def typed(rows, record):
    """Columns of the types that a database gives."""
    kinds = {"int": "i4", "long": "i8", "float": "f4", "double": "f8", "boolean": "?", "string": "U7"}
    columns = columns_of(rows, [field.name for field in record_fields(record)])
    return {field.name: columns[field.name].astype(kinds[field.kind]) for field in record_fields(record)}


class Detector:
    """Rows of one detector, as columns and as mappings."""

    def __init__(self, rng, count):
        self.count = count
        self.sources, self.objects = make_rows(rng, "diaSource", count), make_rows(rng, "diaObject", count)
        for row in self.sources:
            row |= {"x": rng.uniform(-0.4, SHAPE[1] - 1), "y": rng.uniform(-0.4, SHAPE[0] - 1)}
            row |= {"x": float(np.float32(row["x"])), "y": float(np.float32(row["y"]))}
            row["bboxSize"] = int(rng.integers(8, 30))
        self.prv = make_rows(rng, "diaSource", count * N_PRV)
        self.forced = make_rows(rng, "diaForcedSource", count * N_FORCED)

    def batch(self):
        """All of it by column: what the database gives."""
        every = np.arange(self.count)

        def related(rows, record, each):
            return Related(typed(rows, record), np.arange(len(rows)), each * np.arange(self.count + 1))

        return AlertBatch(
            typed(self.sources, "diaSource"),
            related(self.prv, "diaSource", N_PRV),
            related(self.forced, "diaForcedSource", N_FORCED),
            Chosen(typed(self.objects, "diaObject"), every),
        )

    def alert(self, i, cutouts):
        prv, forced = self.prv[i * N_PRV :][:N_PRV], self.forced[i * N_FORCED :][:N_FORCED]
        return make_alert(self.sources[i], prv, forced, self.objects[i], cutouts)


def ordinary_stamp(exposure, x, y):
    """A stamp of 30 pixels as Rubin's packager makes it: the mask is lost, and the PSF of float64."""
    x0, y0 = int(np.floor(x + 0.5)) - 15, int(np.floor(y + 0.5)) - 15
    part = np.s_[max(y0, 0) : y0 + 30, max(x0, 0) : x0 + 30]
    stamp = CCDData(
        exposure.image[part],
        uncertainty=VarianceUncertainty(exposure.variance[part]),
        wcs=exposure.wcs[part],
        unit="nJy",
        psf=exposure.psf.stamp(x, y),
    )
    stream = io.BytesIO()
    stamp.write(stream, format="fits")
    return stream.getvalue()


def ordinary(detector, exposures, count):
    """Alerts by astropy and fastavro."""
    schema, bodies = load_schema(), []
    for i in range(count):
        source = detector.sources[i]
        stamps = [ordinary_stamp(one, source["x"], source["y"]) for one in exposures.values()]
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, detector.alert(i, Cutouts(*stamps)))
        bodies.append(stream.getvalue())
    return bodies


def cpu_s(function, *arguments):
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def fast(batch, exposures):
    """Alerts by this package; their bytes are counted, and not kept."""
    cutters = {name: StampCutter(exposure) for name, exposure in exposures.items()}
    return sum(packets.start[-1] for packets in encode_alerts(batch, cutters))


def write_detectors(folder, detectors, exposures, batch):
    """Package and write the alerts of some detectors."""
    cutters = {name: StampCutter(exposure) for name, exposure in exposures.items()}
    for detector in detectors:
        write_encoded(Path(folder) / f"2026022500123_{detector}.avro", encode_alerts(batch, cutters))


def in_two_processes(function, *arguments):
    """Run a function on half of the detectors in each of two processes; wall and CPU seconds, bytes."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        workers = [
            context.Process(target=function, args=(folder, range(first, N_DETECTORS, 2), *arguments))
            for first in (0, 1)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        paths = list(Path(folder).iterdir())
        assert len(paths) == N_DETECTORS
        spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return wall_s, spent_s, sum(path.stat().st_size for path in paths)


def write_plainly(folder, detectors, content):
    """Write the same number of bytes, ready made: what the disk takes."""
    for detector in detectors:
        write_bytes(Path(folder) / f"{detector}.avro", content)


def check(detector, exposures):
    """Compare packets with fastavro's, byte for byte."""
    batch = detector.batch()
    cutters = {name: StampCutter(exposure) for name, exposure in exposures.items()}
    plans = [cutters[n].plan(*(batch.dia_sources[k] for k in ("x", "y", "bboxSize"))) for n in cutters]
    stamps = list(zip(*(plan.stamps() for plan in plans), strict=True))
    packets = [p.row(i) for p in encode_alerts(batch, cutters, framed=True) for i in range(p.n_rows)]
    for i, packet in enumerate(packets):
        assert packet == encode(detector.alert(i, Cutouts(*stamps[i])))
    return len(packets)


def main():
    rng = np.random.default_rng(1)
    exposures = make_exposures(rng)
    small, large = Detector(rng, N_PER_DETECTOR), Detector(rng, 500)
    compared = check(small, exposures)
    batches = {one.count: one.batch() for one in (small, large)}
    ordinary_s, bodies = cpu_s(ordinary, small, exposures, min(N_ORDINARY, N_PER_DETECTOR))
    rows = [
        ("astropy CCDData.write and fastavro", len(bodies) / ordinary_s, np.mean([len(b) for b in bodies]))
    ]
    for count, batch in batches.items():
        best = min((cpu_s(fast, batch, exposures) for _ in range(5)), key=lambda found: found[0])
        rows.append((f"astra, {count} alerts of one detector", count / best[0], best[1] / count))
    print(f"{platform.machine()}, Python {platform.python_version()}, one thread, CPU time")
    print(f"| {'way':44} | alerts/s | kB each |")
    print(f"| {'-' * 44} | -------: | ------: |")
    for name, rate, size in rows:
        print(f"| {name:44} | {rate:8,.0f} | {size / 1000:7.1f} |")
    print(f"{compared} packets are byte for byte those of fastavro.")
    count = N_DETECTORS * N_PER_DETECTOR
    wall_s, spent_s, size = in_two_processes(write_detectors, exposures, batches[N_PER_DETECTOR])
    plain_s, _, _ = in_two_processes(write_plainly, b"x" * (size // N_DETECTORS))
    what = f"{count:,} alerts, {size / 1e9:.2f} GB, packaged, written and flushed by two processes"
    print(f"{what}: {wall_s:.1f} s (wall), {spent_s:.1f} s (CPU of both)")
    print(f"As many bytes, ready made, written and flushed by two processes: {plain_s:.1f} s (wall)")


if __name__ == "__main__":
    main()
