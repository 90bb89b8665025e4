"""What a user gets wrong is answered by one clear sentence and an exit code."""

import sqlite3

import pytest


def sentences(result):
    """Lines of the log that name an error of astra."""
    return [line for line in result.stderr.splitlines() if "Error: " in line]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["IngestRaws", "--instrument", "sdss", "--path", "absent.fits"],
            "absent.fits does not exist",
        ),
        (
            ["IngestRaws", "--instrument", "sddss", "--path", "."],
            "sddss",
        ),
        (
            ["DefineVisits", "--instrument", "sdss", "--exposure", "5"],
            "exposure 5 of instrument sdss is not ingested; run IngestRaws on it",
        ),
        (
            ["DefineVisits", "--instrument", "sdss", "--exposure", "M31"],
            "exposure must be one value, ranges as in 1..62^70 or a JSON list of values, found 'M31'",
        ),
        (
            ["ProcessCcd", "--instrument", "sdss", "--visit", "[1, 2]", "--detector", "[1, 2, 3]"],
            "the parameters of a batch must have one length, found visit has 2, detector has 3",
        ),
        (
            ["ApPipe", "--reuse", "foo"],
            "foo is not a valid choice",
        ),
    ],
)
def test_one_sentence_says_what_is_wrong(astra_root, run_luigi, arguments, expected):
    result = run_luigi(*arguments)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    found = sentences(result)
    assert found
    assert all(expected in line for line in found)


def test_a_database_at_another_revision_is_refused_with_the_remedy(astra_root, run_luigi):
    with sqlite3.connect(astra_root / "astra.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
    result = run_luigi("DefineVisits", "--instrument", "sdss", "--exposure", "5")
    assert result.returncode != 0
    [sentence] = sentences(result)
    assert "is at revision 0001" in sentence
    assert "run: astra db upgrade" in sentence


def test_a_reference_catalogue_that_is_not_there_is_named(astra_root, run_luigi, night):
    visit, detector = night.pairs[0]
    arguments = ["--instrument", "simcam", "--raw", night.raw, "--visit", visit, "--detector", detector]
    result = run_luigi("ProcessCcd", *arguments, "--reference-catalog", "absent.fits")
    assert result.returncode == 30
    assert "absent.fits" in sentences(result)[0]
    result = run_luigi("ProcessCcd", *arguments, "--clobber-config")
    assert "give --reference-catalog" in sentences(result)[0]
