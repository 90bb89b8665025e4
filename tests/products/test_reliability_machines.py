"""Scores on two kinds of processors: the one that is here, and the least that the libraries are built for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astra.images.reliability import score_dia_sources
from astra.products.exposures import read_exposure, write_exposure
from astra.products.reliability_model import shipped_reliability_model
from tests.images.reliability_field import make_scene, subtract, with_stars

PROJECT = Path(__file__).resolve().parents[2]
NAMES = ("difference", "science", "matched")


def score(folder):
    """Score the detections of a folder with its images."""
    exposures = [read_exposure(folder / f"{name}.fits") for name in NAMES]
    rows = np.load(folder / "dia_sources.npy")
    return score_dia_sources(rows, *exposures, shipped_reliability_model())["reliability"]


def plainest():
    """Environment in which numpy and numba use no instructions beyond the baseline of the architecture."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    found = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    return {
        "NPY_DISABLE_CPU_FEATURES": " ".join(found),
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A scene with new stars and residuals, as files."""
    science, template, stars = make_scene(seed=5)
    rng = np.random.default_rng(5)
    x, y = rng.uniform(40, 380, (2, 16))
    science = with_stars(science, x, y, 10 ** rng.uniform(2.8, 3.3, 16), 3.8)
    template = with_stars(template, stars[0][:5] + 0.7, stars[1][:5], 0.04 * stars[2][:5], 3.2)
    result = subtract(science, template)
    place = tmp_path_factory.mktemp("scene")
    images = (result.difference, science, result.matched_template)
    for name, exposure in zip(NAMES, images, strict=True):
        write_exposure(place / f"{name}.fits", exposure)
    np.save(place / "dia_sources.npy", result.dia_sources)
    return place


def test_scores_are_the_same_on_a_plain_processor(folder, tmp_path):
    here = score(folder)
    assert len(here) > 10
    assert 0.1 < np.mean(here > 0.5) < 0.95
    environment = {**os.environ, **plainest(), "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(Path(__file__)), str(folder)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == here.tobytes().hex()


if __name__ == "__main__":
    sys.stdout.write(score(Path(sys.argv[1])).tobytes().hex())
