"""A whole night as one task: all of it, what fails of it, and what is left to do."""

import pytest

from astra.tasks.ap_night import ApNight
from astra.tasks.process_ccd import ProcessCcd
from tests.tasks.night import attempts, build, rows, sqlite_rows, states
from tests.web.pages_night import read_pages

SUMMARY = """SELECT n_visits, n_detectors, n_done, n_failed, n_dia_sources, n_new_objects, n_updated_objects,
             n_forced_sources, n_alerts FROM night_summary"""


@pytest.fixture
def task(night):
    """ApNight on the science visits of the simulated night."""
    parameters = {k: v for k, v in night.parameters().items() if k not in {"visit", "detector"}}

    def make(**changes):
        return ApNight(**{**parameters, "night": night.files.science_visits[0] // 100000, **changes})

    return make


def test_a_night_that_is_processed_is_summed_up(processed, night, task):
    before = attempts(processed)
    assert build(task())
    after = attempts(processed)
    assert {family for family in after if after[family] != before.get(family)} == {"ApNight"}
    totals = rows(
        processed,
        "SELECT sum(n_dia_sources), sum(n_new_objects), sum(n_updated_objects), sum(n_forced_sources) "
        "FROM apdb_marker",
    )[0]
    assert rows(processed, SUMMARY) == [(2, 4, 4, 0, *totals, totals[0])]
    [(median, largest)] = rows(processed, "SELECT latency_median_s, latency_max_s FROM night_summary")
    assert largest >= median
    assert totals[0] > 20
    pages = read_pages(processed / "reports" / f"simcam_{task().night}")
    assert {"index.html", "alerts.html"} <= set(pages)
    assert len([name for name in pages if name.startswith("visits/")]) == 6  # of 2 visits and 4 detectors
    text = " ".join(" ".join(pages["alerts.html"].words).split())
    assert "arcsec wide, north is up, east is left" in text
    assert "No stamps" not in text


def test_a_report_that_cannot_be_written_is_told_and_fails_nothing(processed, task, caplog):
    folder = processed / "reports" / f"simcam_{task().night}"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    assert build(task())
    assert "is there and is no report of astra" in caplog.text
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    query = "SELECT value FROM task_metadata WHERE key = 'ApNight:report.error'"
    assert "is no report of astra" in rows(processed, query)[0][0]


def test_a_detector_that_fails_stops_no_other_and_is_done_by_the_next_run(processed, night, task):
    expected = sqlite_rows(processed)
    visit, detector = night.pairs[1]
    lost = next(m for m in night.pipeline().get_batch_tasks() if (m.visit, m.detector) == (visit, detector))
    path = lost.require(ProcessCcd).path("calexp")
    kept = path.read_bytes()
    path.unlink()
    assert not build(task(rerun=True, reuse="differencer", report=False))
    assert states(processed, "ApPipe")[visit, detector] != "done"
    assert rows(processed, SUMMARY)[0][:4] == (2, 4, 3, 1)
    path.write_bytes(kept)
    assert build(task(report=False))
    assert rows(processed, SUMMARY)[0][:4] == (2, 4, 4, 0)
    assert sqlite_rows(processed) == expected


def test_a_night_of_which_every_detector_fails_is_summed_up_too(processed, night, task):
    members = list(night.pipeline().get_batch_tasks())
    for path in {member.require(ProcessCcd).path("calexp") for member in members}:
        path.unlink()
    assert not build(task(rerun=True, reuse="differencer", report=False))
    assert rows(processed, SUMMARY)[0][:4] == (2, 4, 0, 4)
    assert rows(processed, "SELECT n_alerts FROM night_summary") == [(0,)]


def test_a_night_without_visits_says_what_to_do(processed, task):
    assert not build(task(night=19990101))
    query = "SELECT message FROM task_attempt WHERE error_class = 'MissingDataError'"
    found = rows(processed, query)
    assert not found or "no detector of night 19990101 of simcam" in found[0][0]


def test_a_night_that_shows_its_progress_ends_with_its_words(processed, night, run_luigi):
    given = {k: v for k, v in night.parameters().items() if k not in {"visit", "detector"}}
    arguments = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", value)]
    day = night.files.science_visits[0] // 100000
    command = ["ApNight", "--night", day, *arguments, "--progress"]
    first = run_luigi(*command)
    assert first.returncode == 0, first.stderr
    assert "0 failed, 0 blocked" in first.stdout
    assert "INFO" not in first.stdout + first.stderr
    assert "ApNight 1/1" in first.stderr
    log = processed / "logs" / f"simcam_{day}.log"
    assert "Luigi Execution Summary" in log.read_text()
    again = run_luigi(*command)
    assert again.stdout == f"night {day} of simcam is done already - nothing to do\n"
    assert again.stderr == ""
