"""Alerts in ZTF's format: what ZTF's own packets and filters expect."""

import gzip
import io
import json
import math

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from fastavro.schema import to_parsing_canonical_form

from astra.alerts.reading import Packet, read_packets
from astra.alerts.sinks import SinkSettings
from astra.alerts.validation import find_problems
from astra.alerts.views import packet_stamps, view_packet
from astra.alerts.ztf import NOT_THERE, to_ztf, ztf_schema
from astra.alerts.ztf_sinks import ztf_container
from astra.errors import AlertError
from astra.plugins import ALERT_SINKS
from tests.alerts.simple import packet, required
from tests.alerts.stamped import SCALE_ARCSEC, stamped


def forced(visit, mjd, flux=120.0):
    values = {"visit": visit, "detector": 3, "midpointMjdTai": mjd, "psfFlux": flux, "psfFluxErr": 40.0}
    return required("diaForcedSource", **values, band="g", ra=149.5, dec=2.25)


@pytest.fixture
def alert():
    """A source with an earlier detection, and a visit at which it was not detected."""
    return stamped(2**62 + 1, reliability=0.9, snr=20.0, apFlux=1100.0, apFluxErr=60.0) | {
        "prvDiaSources": [packet(5, 50, visit=9, mjd=59990.0, flux=-700.0)["diaSource"]],
        "prvDiaForcedSources": [forced(10, 59995.0), forced(9, 59990.0, -650.0)],
    }


def ztf_packets(shared_data):
    for path in sorted((shared_data / "alerts" / "ztf").iterdir()):
        yield from read_packets(path)


def test_the_schema_is_that_of_the_real_packets(shared_data):
    carried = [found.schema for found in ztf_packets(shared_data) if found.record["schemavsn"] == "4.01"]
    assert len(carried) == 8
    own = to_parsing_canonical_form(ztf_schema())
    assert {to_parsing_canonical_form(schema) for schema in carried} == {own}
    defaults = [
        {f["name"]: f.get("default", "none") for f in schema["fields"]}
        for schema in (ztf_schema(), carried[0])
    ]
    assert defaults[0] == defaults[1]


def test_every_field_is_described():
    named = ztf_schema()["__named_schemas"]
    assert all(field["doc"] for record in named.values() for field in record["fields"])


def test_our_alerts_are_read_with_the_schema_of_real_ones(shared_data, alert):
    data = ztf_container(alert)
    for found in ztf_packets(shared_data):
        if found.record["schemavsn"] == "4.01":
            schema = json.loads(json.dumps({k: v for k, v in found.schema.items() if not k.startswith("__")}))
            (read,) = fastavro.reader(io.BytesIO(data), reader_schema=schema)
            assert read == next(fastavro.reader(io.BytesIO(data)))
            assert read["candid"] == 2**62 + 1


def test_real_alerts_are_read_with_our_schema(shared_data):
    for path in sorted((shared_data / "alerts" / "ztf").iterdir()):
        with path.open("rb") as stream:
            (plain,) = fastavro.reader(stream)
        if plain["schemavsn"] in {"3.2", "3.5"}:  # without drbversion; with forced measurements for history
            continue
        with path.open("rb") as stream:
            (read,) = fastavro.reader(stream, reader_schema=ztf_schema())
        assert read["candidate"].items() >= plain["candidate"].items()
        assert read["cutoutScience"] == plain["cutoutScience"]


def test_an_alert_is_told_in_magnitudes_and_julian_dates(alert):
    found = to_ztf(alert)
    candidate = found["candidate"]
    assert (found["schemavsn"], found["objectId"], found["candid"]) == ("4.01", "50", 2**62 + 1)
    assert candidate["magpsf"] == pytest.approx(31.4 - 2.5 * math.log10(1000.0))
    assert candidate["sigmapsf"] == pytest.approx(1.0857 * 50 / 1000, rel=1e-4)
    assert candidate["diffmaglim"] == pytest.approx(31.4 - 2.5 * math.log10(250.0))
    assert candidate["magdiff"] == pytest.approx(-2.5 * math.log10(1.1))
    assert (candidate["isdiffpos"], candidate["fid"], candidate["rcid"]) == ("t", 2, 3)
    assert (candidate["rb"], candidate["drb"], candidate["scorr"]) == (0.9, 0.9, 20.0)
    begin = Time(60000.25 - 15 / 86400, format="mjd", scale="tai").utc.jd
    assert candidate["jd"] == candidate["jdendhist"] == pytest.approx(begin, abs=1e-8)
    assert candidate["pid"] == 12003
    assert (candidate["ndethist"], candidate["ncovhist"]) == (3, 3)  # the object says so
    assert 0 <= candidate["field"] < 12 * 4**5


def test_history_and_limits_are_in_the_order_of_time(alert):
    found = to_ztf(alert)
    first, second = found["prv_candidates"]
    assert (first["candid"], first["isdiffpos"]) == (5, "f")
    assert first["magpsf"] == pytest.approx(31.4 - 2.5 * math.log10(700.0))
    assert (second["candid"], second["magpsf"], second["isdiffpos"]) == (None, None, None)
    assert second["diffmaglim"] == pytest.approx(31.4 - 2.5 * math.log10(200.0))
    assert second["fid"] == 1
    assert first["jd"] < second["jd"] < found["candidate"]["jd"]
    assert [row["forcediffimflux"] for row in found["fp_hists"]] == [-650.0, 120.0]
    assert {row["magzpsci"] for row in found["fp_hists"]} == {31.4}
    assert to_ztf(packet(7))["prv_candidates"] is None


def test_what_we_tell_as_ztf_would_is_read_as_we_meant_it(alert, tmp_path):
    (tmp_path / "a.avro").write_bytes(ztf_container(alert))
    (found,) = read_packets(tmp_path / "a.avro")
    assert find_problems(found) == []
    own = view_packet(Packet(alert, {"name": "lsst.v11_1.alert"}, tmp_path))
    view = view_packet(found)
    for name in ("ra", "dec", "mjd_tai", "flux", "flux_err", "snr", "reliability"):
        assert getattr(view, name) == pytest.approx(getattr(own, name), rel=1e-6), name
    assert (view.band, view.object_name) == ("r", "50")
    assert view.detections["flux"] == pytest.approx(own.detections["flux"], rel=1e-6)
    assert view.detections["mjd_tai"] == pytest.approx(own.detections["mjd_tai"], abs=1e-8)
    assert view.forced["flux"] == pytest.approx(own.forced["flux"], rel=1e-6)
    assert len(view.limits) == 1


@pytest.mark.parametrize(
    ("angle_deg", "flipped"), [(0, False), (90, False), (180, False), (270, False), (0, True), (100, True)]
)
def test_stamps_have_63_pixels_a_side_and_the_orientation_of_ztf(angle_deg, flipped):
    alert = stamped(angle_deg=angle_deg, flipped=flipped, star=(3.0, 2.0), side=45)
    found = to_ztf(alert)
    cutout = found["cutoutTemplate"]
    assert cutout["fileName"] == "candid7_ref.fits.gz"
    with fits.open(io.BytesIO(gzip.decompress(cutout["stampData"]))) as hdus:
        image = hdus[0].data
        assert hdus[0].header["BUNIT"] == "nJy"
    assert image.shape == (63, 63)
    assert np.isnan(image[0, 0])
    y, x = np.unravel_index(np.nanargmax(image), image.shape)
    if angle_deg % 90 == 0:  # also a reader that knows nothing of the WCS sees it north and east
        assert (x, y) == pytest.approx((31 - 3.0 / SCALE_ARCSEC, 31 - 2.0 / SCALE_ARCSEC), abs=1.5)
    stamp = packet_stamps(Packet(found, ztf_schema(), "a.avro"))["template"]
    assert stamp.matrix @ [x - stamp.x, y - stamp.y] == pytest.approx([3.0, 2.0], abs=0.2)


def test_what_became_fainter_is_positive_in_the_stamp():
    alert = stamped(flux=-900.0)
    found = to_ztf(alert)
    cutout = found["cutoutDifference"]
    assert cutout["fileName"].endswith("targ_refmsci.fits.gz")
    with fits.open(io.BytesIO(gzip.decompress(cutout["stampData"]))) as hdus:
        assert hdus[0].data[31, 31] < -200  # the simulated source is positive
    assert packet_stamps(Packet(found, ztf_schema(), "a.avro"))["difference"].image[31, 31] > 200
    assert to_ztf(stamped())["cutoutDifference"]["fileName"].endswith("targ_scimref.fits.gz")


def test_pixels_are_counted_around_the_source():
    alert = stamped()
    counts = to_ztf(alert)["candidate"]
    assert (counts["nneg"], counts["nbad"]) == (0, 0)
    assert counts["sumrat"] == pytest.approx(1.0)
    faded = to_ztf(stamped(flux=-900.0))["candidate"]
    assert faded["nneg"] == 25
    with fits.open(io.BytesIO(alert["cutoutDifference"])) as hdus:
        ny, nx = hdus["MASK"].shape
        hdus["MASK"].data[ny // 2, nx // 2] = 1 << hdus["MASK"].header["MP_SAT"]
        hdus["MASK"].data[ny // 2 + 1, nx // 2] = 1 << hdus["MASK"].header["MP_DETECTED"]
        hdus[0].data[ny // 2, nx // 2 + 1] = np.nan
        stream = io.BytesIO()
        hdus.writeto(stream)
    assert to_ztf(alert | {"cutoutDifference": stream.getvalue()})["candidate"]["nbad"] == 2


def test_sizes_are_in_pixels():
    source = {"ixx": 0.5, "iyy": 0.3, "ixy": 0.0, "ixxPSF": 0.2, "iyyPSF": 0.2}
    candidate = to_ztf(stamped(**source))["candidate"]
    assert candidate["aimage"] == pytest.approx(math.sqrt(0.5) / SCALE_ARCSEC, rel=1e-4)
    assert candidate["elong"] == pytest.approx(math.sqrt(5 / 3), rel=1e-6)
    assert candidate["fwhm"] == pytest.approx(2.3548 * math.sqrt(0.4) / SCALE_ARCSEC, rel=1e-4)
    assert candidate["seeratio"] == pytest.approx(math.sqrt(2.0))


def test_a_body_of_the_solar_system_is_named():
    plain = to_ztf(packet(7, 50))["candidate"]
    assert (plain["ssdistnr"], plain["ssmagnr"], plain["ssnamenr"]) == (NOT_THERE, NOT_THERE, "null")
    moving = packet(7, ssObjectId=2**60) | {
        "ssSource": required("ssSource", designation="2011 AB", ephOffset=0.4, ephVmag=20.5)
    }
    found = to_ztf(moving)
    assert found["objectId"] == "7"
    body = {name: found["candidate"][name] for name in ("ssdistnr", "ssmagnr", "ssnamenr")}
    assert body == {"ssdistnr": 0.4, "ssmagnr": 20.5, "ssnamenr": "2011 AB"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"band": None}, "alert 7 must have a band of g, r, i, z, y, u .* found None"),
        ({"flux": 0.0}, "alert 7 must have psfFlux .* found 0.0"),
        ({"psfFluxErr": None}, "alert 7 must have psfFluxErr"),
    ],
)
def test_what_cannot_be_told_is_refused(changes, said):
    with pytest.raises(AlertError, match=said):
        ztf_container(packet(7, **changes))


def test_a_broken_stamp_is_refused():
    with pytest.raises(AlertError, match="alert 7 cannot be told as ZTF would: a FITS header has no end"):
        ztf_container(packet(7) | {"cutoutScience": b"nothing"})


def test_real_packets_of_rubin_are_told(shared_data, tmp_path):
    pytest.importorskip("lsst.alert.packet")
    sink = ALERT_SINKS.get("ztf")
    paths = [
        *(shared_data / "alerts").glob("confluent_wire/*"),
        *(shared_data / "alerts").glob("rubin*/*/*.avro"),
    ]
    with sink.open(SinkSettings(tmp_path)) as sender:
        for path in paths:
            (delivery,) = sender.send([sink.forward(found) for found in read_packets(path)])
            assert delivery.error is None
    written = [found for path in tmp_path.iterdir() for found in read_packets(path)]
    assert len(written) == len(paths) == 18
    for found in written:
        assert find_problems(found) == []
        assert all(stamp.image.shape == (63, 63) for stamp in packet_stamps(found).values())


def passes_bright_transients(alert):
    """A filter as those that were written for ZTF: bright, real, new, no moving object, no star."""
    c = alert["candidate"]
    first = min((p["jd"] for p in alert["prv_candidates"] or [] if p["candid"] is not None), default=c["jd"])
    return (
        c["magpsf"] < 24 and c["drb"] > 0.5 and c["isdiffpos"] in {"t", "1"} and c["nbad"] < 5
        and c["programid"] == 1 and (c["ssdistnr"] < 0 or c["ssdistnr"] > 12)
        and not (c["sgscore1"] > 0.76 and 0 <= c["distpsnr1"] < 2) and c["jd"] - first < 30
    )  # fmt: skip


def passes_moving_objects(alert):
    """A filter for bodies of the solar system, as for ZTF."""
    c = alert["candidate"]
    return 0 <= c["ssdistnr"] < 5 and c["ssnamenr"] != "null" and (c["drb"] or c["rb"]) > 0.3


def test_filters_of_ztfs_time_run(alert, shared_data):
    moving = {**alert, "diaSource": alert["diaSource"] | {"ssObjectId": 5}}
    ours = [to_ztf(alert), to_ztf(moving)]
    assert [passes_bright_transients(one) for one in ours] == [True, False]
    assert [passes_moving_objects(one) for one in ours] == [False, True]
    real = [found.record for found in ztf_packets(shared_data) if found.record["schemavsn"] == "4.01"]
    assert not any(map(passes_bright_transients, real))  # known stars and asteroids
    names = {one["candidate"]["ssnamenr"] for one in real if passes_moving_objects(one)}
    assert names == {"33734", "50566", "110778"}
