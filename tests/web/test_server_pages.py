"""The pages as they are asked for: what they show, in which form, and what they say if something is wrong."""

import csv
import io
import json

import numpy as np
import pytest

from astra.alerts.reading import read_packets
from astra.database.read_only import ReadOnlyDatabase
from astra.errors import UnavailableError
from tests.database.apdb_visits import object_positions
from tests.web.example_site import DETECTOR, FORMULA, INSTRUMENT, NIGHT, SCRIPT, VISITS


def paths(example):
    """A page of each kind."""
    visit = f"/visit/{INSTRUMENT}/{VISITS[0]}"
    return [
        "/", f"/night/{INSTRUMENT}/{NIGHT}", visit, f"{visit}/detector/{DETECTOR}",
        f"/efficiency/{INSTRUMENT}/{NIGHT}", "/tasks", f"/task/{example.failed}", f"/task/{example.batch}",
        "/alerts", f"/object/{example.object_id}", "/spectra", f"/spectrum/{example.spectrum}", "/about",
    ]  # fmt: skip


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_each_page_is_told_in_three_forms(server, example):
    for path in paths(example):
        text = server.page(path)
        assert text.count("<h1") == 1, path
        assert "format=json" in text, path
        assert server.json(path) is not None
        header = server.page(path, format="csv").splitlines()[0]
        assert "," in header, path


def test_the_pages_lead_to_each_other(server, example):
    assert f"/night/{INSTRUMENT}/{NIGHT}" in server.page("/")
    assert f"/visit/{INSTRUMENT}/{VISITS[0]}" in server.page(f"/night/{INSTRUMENT}/{NIGHT}")
    assert f"detector/{DETECTOR}" in server.page(f"/visit/{INSTRUMENT}/{VISITS[0]}")
    detector = server.page(f"/visit/{INSTRUMENT}/{VISITS[0]}/detector/{DETECTOR}")
    assert f"/task/{example.failed}" in detector
    assert f"/object/{example.object_id}" in server.page("/alerts")
    assert f"/task/{example.done}" in server.page(f"/task/{example.failed}")
    assert f"/task/{example.blocked}" in server.page(f"/task/{example.failed}")


def test_tasks_are_chosen_by_what_is_asked(server, example):
    def found(**query):
        return {task["task_id"] for task in server.json("/tasks", **query)["tasks"]}

    everything = found()
    assert {example.failed, example.done, example.blocked, example.batch} <= everything
    assert found(state="failed") == {example.failed, example.batch, example.hostile}
    assert found(state="blocked") == {example.blocked}
    assert len(found(state="running")) == 1
    assert found(family="DiffIm", state="failed") == {example.failed, example.batch}
    assert found(text="PSF MATCHING") == {example.failed}
    assert found(text="100%_") == set()
    assert example.done in found(night=NIGHT)
    assert found(night="2019-01-01") == set()
    assert found(visit=VISITS[0], detector=DETECTOR) >= {example.failed, example.done}
    assert found(visit=VISITS[1]) == set()
    assert found(min_duration=1.0) >= {example.failed}
    assert found(min_duration=2.0) == set()


def test_lists_go_page_by_page_and_lose_nothing(server):
    everything = [task["pk"] for task in server.json("/tasks")["tasks"]]
    assert everything == sorted(everything, key=int, reverse=True)
    seen, before = [], {}
    while True:
        page = server.json("/tasks", n=2, **before)
        seen += [task["pk"] for task in page["tasks"]]
        if page["next"] is None:
            break
        before = {"before": seen[-1]}
        assert f"before={seen[-1]}" in page["next"]
    assert seen == everything


def test_a_task_tells_all_that_is_known(server, example):
    text = server.page(f"/task/{example.failed}")
    for said in (
        "TooFewSourcesError",
        "3 sources are usable",
        "looking for stars",
        "Traceback",
        "astra retry",
    ):
        assert said in text
    assert "http://127.0.0.1:8082/static/visualiser/index.html#tab=graph" in text
    told = server.json(f"/task/{example.failed}")
    assert told["details"]["task"]["state"] == "failed"
    assert told["command"] == f"astra retry {example.failed} --run"
    assert [one["task_id"] for one in told["details"]["dependents"]["rows"]] == [example.blocked]
    assert server.json(f"/task/{example.blocked}")["details"]["task"]["state"] == "blocked"
    assert server.json(f"/task/{example.batch}")["details"]["members"] == {"failed": 1}


def test_alerts_are_chosen_by_what_is_asked(server):
    every = server.json("/alerts")["alerts"]
    ids = [int(alert["diaSourceId"]) for alert in every]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 9
    assert {int(alert["visit"]) for alert in server.json("/alerts", visit=VISITS[1])["alerts"]} == {VISITS[1]}
    assert len(server.json("/alerts", night=NIGHT)["alerts"]) == 9
    assert server.json("/alerts", night=20200101)["alerts"] == []
    assert server.json("/alerts", reliability=0.5)["alerts"] == []
    page = server.json("/alerts", n=4, order="snr")
    assert len(page["alerts"]) == 4
    assert "skip=4" in page["next"]


def test_a_cone_holds_what_is_near_and_nothing_else(server):
    ra, dec = (float(value[0]) for value in object_positions([1]))
    near = server.json("/alerts", near=f"{ra},{dec},2")["alerts"]
    assert len(near) == 3
    distances = [alert["distance_arcsec"] for alert in near]
    assert distances == sorted(distances)
    assert max(distances) < 2
    assert len(server.json("/alerts", near=f"{ra},{dec},7")["alerts"]) == 9  # they are 5 arcsec apart
    assert server.json("/alerts", near=f"{ra},{dec + 1},7")["alerts"] == []
    assert len(server.json("/alerts", near=f"{ra - 360},{dec},2", visit=VISITS[0])["alerts"]) == 1


def test_an_object_shows_the_stamps_of_the_detection_that_is_chosen(server, example):
    text = server.page(f"/object/{example.object_id}", source=example.source_ids[1])
    assert f'detection <span class="mono">{example.source_ids[1]}' in text
    pictures = {word for word in text.split('"') if word.startswith("/pictures/")}
    assert len(pictures) == 3
    for picture in pictures:
        response, content = server.ask(picture)
        assert (response.status, response.headers["Content-Type"]) == (200, "image/png")
        assert content.startswith(b"\x89PNG")
    told = server.json(f"/object/{example.object_id}")
    assert {point["source_id"] for point in told["points"] if not point["is_forced"]} == {
        str(one) for one in example.source_ids
    }
    assert "difference, mag (AB)" in server.page(f"/object/{example.object_id}", scale="mag")


def test_packet_and_stamps_are_those_of_the_file(server, example, tmp_path):
    source = example.source_ids[0]
    response, content = server.ask(f"/alert/{source}/packet.avro")
    assert response.headers["Content-Disposition"] == f'attachment; filename="{source}.avro"'
    path = tmp_path / "one.avro"
    path.write_bytes(content)
    (packet,) = read_packets(path)
    written = {
        one.source_id: one for one in read_packets(example.root / "alerts" / f"{VISITS[0]}_{DETECTOR}.avro")
    }
    assert packet.record == written[source].record
    assert server.ask(f"/alert/{source}/difference.fits")[1] == packet.record["cutoutDifference"]
    assert json.loads(server.page(f"/alert/{source}/packet.json"))["diaSourceId"] == str(source)
    response, picture = server.ask(f"/alert/{source}/stamps.png")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 1000
    server.page("/alert/1/stamps.png", 404)


def test_a_spectrum_is_drawn_with_its_pixels(server, example):
    text = server.page(f"/spectrum/{example.spectrum}", z=0.1)
    assert 'class="spectral-line' in text
    pixels = rows(server.page(f"/spectrum/{example.spectrum}", format="csv"))
    assert len(pixels) == 4648
    wave = np.array([float(row["wavelength"]) for row in pixels])
    assert (np.diff(wave) > 0).all()
    assert pixels[7]["bad"] in {"true", "false"}
    assert "H alpha" in text


def test_files_go_out_by_their_number(server, example):
    response, content = server.ask(f"/product/{example.products['table']}")
    assert content == b"a,b\n1,2\n"
    assert response.headers["Content-Disposition"] == 'attachment; filename="table.csv"'
    response, content = server.ask(f"/product/{example.products['picture']}")
    assert response.headers["Content-Type"] == "image/png"
    assert content.startswith(b"\x89PNG")


def test_ids_are_text_in_json_and_formulae_are_none_in_csv(server, example):
    alert = server.json("/alerts")["alerts"][0]
    assert isinstance(alert["diaSourceId"], str)
    assert isinstance(alert["diaObjectId"], str)
    text = server.page("/tasks", family="Hostile", format="csv")
    assert not [
        row
        for row in rows(text)
        if any((cell or "").startswith(("=", "+", "@", "-")) for cell in row.values())
    ]
    assert FORMULA.split("(")[0] in text


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        ("/tasks", {"visit": "12x"}, "whole number"),
        ("/tasks", {"state": "lost"}, "must be one of"),
        ("/tasks", {"night": "20261399"}, "must be a night"),
        ("/tasks", {"text": "x" * 300}, "200 characters"),
        ("/tasks", {"n": "1000000"}, "from 1 to 1000"),
        ("/tasks", {"min_duration": "nan"}, "a number"),
        ("/alerts", {"near": "1,2"}, "ra,dec,radius"),
        ("/alerts", {"near": "1,2,99999"}, "ra,dec,radius"),
        ("/alerts", {"without": "nothing,such"}, "must name some of"),
        ("/alerts", {"skip": "99999999"}, "from 0 to"),
        ("/tasks", {"format": "xml"}, "must be one of"),
        ("/alerts", {"view": "list"}, "must be one of grid, scan"),
        ("/alerts", {"view": "scan", "at": "24"}, "from 0 to 23"),
        ("/alerts", {"view": "scan", "at": "-1"}, "whole number"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said(server, path, query, said):
    assert said in server.page(path, 400, **query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"scale": "log"}, "scale must be one of flux, mag"),
        ({"flux": SCRIPT}, "flux must be one of difference, total"),
        ({"forced": "1"}, "forced must be one of yes, no"),
        ({"limits": "true"}, "limits must be one of yes, no"),
        ({"source": "x"}, "source must be a whole number"),
    ],
)  # fmt: skip
def test_a_light_curve_says_what_it_does_not_understand(server, example, query, said):
    text = server.page(f"/object/{example.object_id}", 400, **query)
    assert said in text
    assert text.count("<script") == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"stretch": "log"}, "stretch must be one of asinh, linear, zscale"),
        ({"mask": "SAT,NOTHING"}, "mask must name some of"),
        ({"mask": SCRIPT}, "mask must name some of"),
        ({"mask": "BAD,SAT,INTRP,CR,EDGE,DETECTED,SUSPECT"}, "mask may name 6 planes, but names 7"),
        ({"mask": "SAT" * 100}, "200 characters"),
    ],
)  # fmt: skip
def test_images_say_what_they_do_not_understand(server, query, said):
    for path in (f"/visit/{INSTRUMENT}/{VISITS[0]}", f"/visit/{INSTRUMENT}/{VISITS[0]}/detector/{DETECTOR}"):
        text = server.page(path, 400, **query)
        assert said in text
        assert text.count("<script") == 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"z": "9"}, "z must be a number"),
        ({"z": "nan"}, "z must be a number"),
        ({"from": "5000", "to": "4000"}, "from must be less than to"),
        ({"from": "5000", "to": "5000"}, "from must be less than to"),
        ({"from": "-1"}, "from must be a number"),
        ({"to": "1e9"}, "to must be a number"),
        ({"row": "x"}, "row must be a whole number"),
    ],
)  # fmt: skip
def test_a_spectrum_says_what_it_does_not_understand(server, example, query, said):
    assert said in server.page(f"/spectrum/{example.spectrum}", 400, **query)


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/task/Nothing_0", "/object/1", "/object/99999999999999999999", "/spectrum/999",
        "/night/camera/20250101", "/visit/other/101", "/visit/camera/101/detector/99", "/product/1",
        "/pictures/00000000000000000000000000000000.png", "/alert/9223372036854775808/packet.json",
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(server, path):
    assert server.ask(path)[0].status == 404


def test_an_empty_database_says_what_to_run(tmp_path):
    from astra.database.engine import get_engine
    from tests.web.conftest import Server

    url = f"sqlite:///{tmp_path / 'empty.db'}"
    get_engine(url)
    made = Server(url, tmp_path)
    try:
        for path in ("/", "/tasks", "/alerts"):
            assert "luigi --module astra Demo" in made.page(path)
        assert "No spectrum" in made.page("/spectra")
    finally:
        made.stop()


def test_the_database_cannot_be_written_through_the_pages(any_database_url):
    from sqlalchemy import text
    from sqlalchemy.exc import DatabaseError

    database = ReadOnlyDatabase(any_database_url)
    for statement in ("DELETE FROM task", "CREATE TABLE own (a INTEGER)", "UPDATE run SET pid = 0"):
        with (
            pytest.raises((DatabaseError, UnavailableError), match=r"(?i)read-?only"),
            database.reading() as connection,
        ):
            connection.execute(text(statement))
    database.close()


def test_a_question_that_takes_too_long_is_ended(any_database_url):
    from sqlalchemy import text

    from astra.database.read_only import SlowQueryError

    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    database = ReadOnlyDatabase(any_database_url, limit_s=0.3)
    with pytest.raises(SlowQueryError, match=r"within 0\.3 s"), database.reading() as connection:
        connection.execute(text(endless)).all()
    with database.reading() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()


def test_the_pages_are_the_same_over_postgresql(tmp_path, postgresql_url):
    from tests.web.conftest import Server
    from tests.web.example_site import make_example

    example = make_example(tmp_path / "root", postgresql_url)
    made = Server(example.url, example.root)
    try:
        for path in paths(example):
            assert made.page(path).count("<h1") == 1, path
        assert [task["task_id"] for task in made.json("/tasks", state="blocked")["tasks"]] == [
            example.blocked
        ]
        assert len(made.json("/tasks", state="failed")["tasks"]) == 3
        assert len(made.json("/alerts", night=NIGHT)["alerts"]) == 9
    finally:
        made.stop()
