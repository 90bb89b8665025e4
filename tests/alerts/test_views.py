"""Alerts at a glance: of ours, Rubin's and ZTF's, and of hostile ones."""

import gzip
import io
import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from astra.alerts.files import write_alerts
from astra.alerts.reading import Packet, read_packets, wire_bytes
from astra.alerts.stamps import MAX_BYTES, Stamp, read_stamp
from astra.alerts.validation import find_problems
from astra.alerts.views import packet_stamps, view_packet
from astra.alerts.wire import encode
from astra.errors import AlertError, FormatError, MissingDataError
from astra.plugins import ALERT_SINKS
from tests.alerts.simple import packet
from tests.alerts.stamped import DEC, RA, SCALE_ARCSEC, stamped


def one(path):
    (found,) = read_packets(path)
    return found


@pytest.fixture
def own(tmp_path):
    """Read an alert of ours from a file."""

    def read(alert):
        write_alerts(tmp_path / "12_3.avro", [alert])
        return one(tmp_path / "12_3.avro")

    return read


def test_our_alert_has_its_history_in_order(own):
    alert = packet(2**62 + 7, 50, flux=-800.0)
    before = packet(3, 50, mjd=59990.0)["diaSource"]
    view = view_packet(own(alert | {"prvDiaSources": [packet(4, mjd=59995.0)["diaSource"], before]}))
    assert (view.survey, view.schema, view.source_id, view.object_name) == (
        "lsst",
        "lsst.v11_1.alert",
        2**62 + 7,
        "50",
    )
    assert view.detections["mjd_tai"].tolist() == [59990.0, 59995.0, 60000.25]
    assert view.flux == -800.0
    assert view.mag_ab == pytest.approx(31.4 - 2.5 * math.log10(800.0))
    assert len(view.forced) == len(view.limits) == 0


def test_what_is_missing_is_nan_and_no_point(own):
    view = view_packet(own(packet(7, flux=None)))
    assert math.isnan(view.flux)
    assert math.isnan(view.mag_ab)
    assert view.object_name == ""
    assert len(view.detections) == 0


@pytest.mark.parametrize(("angle_deg", "flipped"), [(0, False), (90, False), (215, False), (30, True)])
def test_a_neighbour_is_where_it_is_on_the_sky(own, angle_deg, flipped):
    stamps = packet_stamps(own(stamped(angle_deg=angle_deg, flipped=flipped, star=(3.0, 2.0))))
    stamp = stamps["template"]
    y, x = np.unravel_index(np.nanargmax(stamp.image), stamp.image.shape)
    east, north = stamp.matrix @ [x - stamp.x, y - stamp.y]
    assert (east, north) == pytest.approx((3.0, 2.0), abs=0.75 * SCALE_ARCSEC)
    assert stamp.unit == "nJy"
    y, x = np.unravel_index(np.nanargmax(stamps["difference"].image), stamp.image.shape)
    assert (x, y) == pytest.approx((stamp.x, stamp.y), abs=0.75)


def test_real_packets_of_rubin_are_read(shared_data):
    pytest.importorskip("lsst.alert.packet")
    wire = {found.source_id: found for path in (shared_data / "alerts" / "confluent_wire").iterdir()
            for found in read_packets(path)}  # fmt: skip
    found = wire[25409136044802067]
    assert found.version == "7.1"
    view = view_packet(found)
    assert (len(view.detections), len(view.forced)) == (3, 3)
    assert view.flux == pytest.approx(2000.98, abs=0.01)
    assert all(stamp.matrix is not None for stamp in packet_stamps(found).values())
    container = one(shared_data / "alerts" / "rubin_hsc_cosmos" / "visit59160" / "397017750700043.avro")
    assert container.survey == "lsst"
    assert container.version is None
    assert (len(view_packet(container).detections), view_packet(container).band) == (4, "g")
    assert abs(np.linalg.det(packet_stamps(container)["science"].matrix)) ** 0.5 == pytest.approx(
        0.168, abs=0.01
    )


def test_real_alerts_of_ztf_are_read(shared_data):
    folder = shared_data / "alerts" / "ztf"
    found = one(folder / "2475433850015010009.avro")
    view = view_packet(found)
    candidate = found.record["candidate"]
    assert view.object_name == "ZTF17aadcvhq"
    assert view.mag_ab == pytest.approx(candidate["magpsf"])
    assert view.flux < 0
    assert view.snr == pytest.approx(1.0857 / candidate["sigmapsf"], rel=1e-4)
    middle = Time(candidate["jd"], format="jd", scale="utc").tai.mjd + 15 / 86400
    assert view.mjd_tai == pytest.approx(middle, abs=1e-9)
    assert (len(view.detections), len(view.forced), len(view.limits)) == (5, 7, 16)
    assert set(view.detections["band"]) == {"g"}
    stamps = packet_stamps(found)
    assert stamps["difference"].image[30:33, 30:33].mean() < -50  # it has become fainter
    assert len(view_packet(one(folder / "forcedphot_test_1660293514215020000.avro")).forced) > 0


def test_stamps_of_ztf_have_the_orientation_of_their_detector(shared_data):
    # Positions on the detector against those on the sky, of alerts of one image.
    rows = []
    for path in sorted((shared_data / "alerts" / "ztf").glob("24754338500150*.avro")):
        candidate = one(path).record["candidate"]
        rows.append([candidate[name] for name in ("xpos", "ypos", "ra", "dec")])
    x, y, ra, dec = np.array(rows).T
    design = np.column_stack([x, y, np.ones_like(x)])
    east, *_ = np.linalg.lstsq(design, (ra - ra[0]) * np.cos(np.deg2rad(dec)) * 3600, rcond=None)
    north, *_ = np.linalg.lstsq(design, dec * 3600, rcond=None)
    stamp = packet_stamps(one(next((shared_data / "alerts" / "ztf").glob("24754338500150*.avro"))))["science"]
    assert stamp.matrix == pytest.approx(np.array([east[:2], north[:2]]), abs=0.02)


def test_pixels_without_data_are_nan(shared_data):
    stamps = packet_stamps(one(shared_data / "alerts" / "ztf" / "2475433850015015000.avro"))
    assert np.isnan(stamps["template"].image).sum() > 1000
    assert np.nanmedian(stamps["template"].image) == pytest.approx(96, abs=10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (7, "must be bytes, found int"),
        ({"stampData": None}, "must be bytes, found NoneType"),
        (b"no FITS", "a FITS header has no end"),
        (b" " * 80 + b"END" + b" " * 2797, "begins with SIMPLE = T"),
        (b"\x1f\x8bno gzip", "is not gzipped as it says"),
        (gzip.compress(b"\0" * (MAX_BYTES + 1)), "found more"),
        (b"\0" * (MAX_BYTES + 1), "found more"),
    ],
)  # fmt: skip
def test_what_is_no_stamp_is_refused(content, said):
    with pytest.raises(FormatError, match=said):
        read_stamp(content, ra=RA, dec=DEC)


def fits_bytes(data, **cards):
    stream = io.BytesIO()
    fits.PrimaryHDU(data, fits.Header(list(cards.items()))).writeto(stream)
    return stream.getvalue()


def test_a_header_that_promises_too_much_is_refused():
    plain = fits_bytes(np.zeros((5, 7), dtype=np.float32))
    huge = plain.replace(b"NAXIS1  =                    7", b"NAXIS1  =            999999999")
    with pytest.raises(FormatError, match="at most 1024 pixels a side"):
        read_stamp(huge, ra=RA, dec=DEC)
    with pytest.raises(FormatError, match="at most 1024 pixels a side"):
        read_stamp(fits_bytes(np.zeros((2, 5, 7), dtype=np.float32)), ra=RA, dec=DEC)
    with pytest.raises(FormatError, match="has 140 bytes, of which 120 are there"):
        read_stamp(plain[:3000], ra=RA, dec=DEC)
    with pytest.raises(FormatError, match="BITPIX must be one of"):
        read_stamp(
            plain.replace(b"BITPIX  =                  -32", b"BITPIX  =                  -31"),
            ra=RA,
            dec=DEC,
        )


@pytest.mark.parametrize(
    "cards", [{}, {"CRVAL1": "east"}, {"CRVAL1": 1.0, "CD1_1": 0.0, "CTYPE1": "RA---TAN"}]
)
def test_a_stamp_without_a_usable_wcs_has_no_orientation(cards):
    stamp = read_stamp(fits_bytes(np.zeros((5, 7), dtype=np.float32), **cards), ra=RA, dec=DEC)
    assert isinstance(stamp, Stamp)
    assert stamp.image.shape == (5, 7)
    assert stamp.matrix is None or np.isfinite([stamp.x, stamp.y]).all()


def test_strange_values_are_no_numbers(tmp_path):
    record = {
        "diaSource": {"ra": "north", "dec": None, "psfFlux": True, "midpointMjdTai": math.nan, "band": 7},
        "prvDiaSources": "many",
        "prvDiaForcedSources": [None, 5, {"psfFlux": 1.0}],
    }
    view = view_packet(Packet(record, {"name": "alert"}, tmp_path))
    assert math.isnan(view.ra)
    assert (view.source_id, view.band) == (None, "7")
    assert len(view.detections) == len(view.forced) == 0
    odd = {"candidate": {"fid": {}, "jd": 1e300, "magpsf": 1e9}, "prv_candidates": 5, "objectId": 7}
    assert view_packet(Packet(odd, {"name": "alert"}, tmp_path)).object_name == "7"


def test_files_that_hold_no_alert_are_refused_by_name(tmp_path):
    path = tmp_path / "some.avro"
    with pytest.raises(MissingDataError, match=r"some\.avro cannot be read"):
        list(read_packets(path))
    path.write_bytes(b"nothing")
    with pytest.raises(AlertError, match="neither as an Avro container nor as a packet"):
        list(read_packets(path))
    path.write_bytes(b"\0\0\0\x63\x63body")
    with pytest.raises(AlertError, match=r"some.avro is written with schema 254\.43; known are"):
        list(read_packets(path))
    path.write_bytes(b"\0\0\0\x04\x4dbody")
    with pytest.raises(AlertError, match=r"some.avro: the body of an alert"):
        list(read_packets(path))
    write_alerts(path, [packet(1), packet(2)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(AlertError, match="not a whole Avro container"):
        list(read_packets(path))


def test_alerts_of_our_own_schema_are_known_by_it(tmp_path):
    limit = {"visit": 11, "detector": 3, "band": "g", "midpointMjdTai": 59999.0, "limitFlux": 300.0}
    alert = packet(7, 50) | {"nearestStars": None, "nearestGalaxies": None}
    alert["upperLimits"] = [limit | {"limitSnr": 3.0, "method": "forced"}]
    write_alerts(tmp_path / "a.avro", [alert], version="astra-1.0")
    found = one(tmp_path / "a.avro")
    assert (found.survey, found.version) == ("lsst", "astra-1.0")
    assert view_packet(found).limits.tolist()[0][:3] == (59999.0, "g", 500.0)
    assert find_problems(found) == []
    assert wire_bytes(found) == encode(alert, "astra-1.0")
    sink = ALERT_SINKS.get("kafka")
    assert sink.encode(found.record, found.version).value == wire_bytes(found)
    (tmp_path / "b.avro").write_bytes(wire_bytes(found))
    assert one(tmp_path / "b.avro").record == alert
