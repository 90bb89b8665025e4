"""Training as a task: on a simulated night and on labels of detections that `DiffIm` has made."""

import json
from pathlib import Path

import numpy as np
import pytest

from astra.errors import DataError
from astra.products.catalogs import read_catalog
from astra.products.reliability_labels import Labels
from astra.products.reliability_model import read_reliability_model
from astra.sky.identifiers import pack_source_ids
from astra.tasks.diffim import DiffIm
from astra.tasks.process_ccd import ProcessCcd
from astra.tasks.train_reliability import TrainReliability
from astra.tasks.training_frames import labelled_frames, read_pair, simulated_pairs, source_rows
from tests.tasks.night import build

pytest.importorskip("sklearn")


def training(night, **changes):
    """A small training on the night."""
    parameters = {name: night.parameters()[name] for name in ("instrument", "raw", "reference_catalog")}
    visits = "^".join(map(str, night.files.science_visits))
    templates = night.parameters()["template_visits"]
    named = {"visits": visits, "detectors": "0^1", "template_visits": templates}
    return TrainReliability(**{**parameters, **named, "nights": 1, "trees": 25, **changes})


def labels_of(night, task):
    """Labels by the truth of the night: ids and whether a transient is there."""
    from astra.instruments.registry import get_instrument

    truth = read_catalog(night.files.truth_path)
    ids, labels = [], []
    for data_id in task.data_ids():
        rows = read_catalog(task.require(DiffIm, **data_id).path("diaSrc"))
        packed = get_instrument("simcam").pack_visit_detector(data_id["visit"], data_id["detector"])
        there = truth[(truth["visit"] == data_id["visit"]) & (truth["detector"] == data_id["detector"])]
        distance = np.hypot(rows["x"][:, None] - there["x"], rows["y"][:, None] - there["y"])
        ids += pack_source_ids(packed, np.arange(1, len(rows) + 1)).tolist()
        labels += (distance.min(axis=1, initial=99.0) < 2.0).astype(int).tolist()
    return ids, labels


def test_labels_and_a_simulated_night_make_a_model(night, processed):
    path = processed / "labels.csv"
    ids, labels = labels_of(night, training(night))
    path.write_text("diaSourceId,label\n" + "".join(f"{i},{k}\n" for i, k in zip(ids, labels, strict=True)))
    task = training(night, labels=str(path))
    assert build(task)
    model = read_reliability_model(task.output()["model"].path)
    report = json.loads(Path(task.output()["report"].path).read_text())
    assert report == model.report
    assert report["version"] == model.version
    assert len(report["frames"]) == 4 + 4
    labelled = [row for row in report["frames"] if row["name"].endswith("labelled")]
    assert sum(row["real"] for row in labelled) == sum(labels)
    assert sum(row["real"] + row["artefacts"] for row in labelled) == len(ids)
    assert report["area"] > 0.9
    assert Path(task.output()["roc"].path).read_bytes().startswith(b"\x89PNG")
    folder = Path(task.output()["model"].path).parent
    assert {item.name for item in folder.iterdir()} == {"model.npz", "report.json", "roc.png"}


def test_nothing_to_train_on_is_said(astra_root, caplog):
    with caplog.at_level("ERROR"):
        assert not build(TrainReliability(nights=0))
    assert "TrainReliability has no frames to train on" in caplog.text


def test_named_visits_are_required_with_their_template(night):
    required = training(night).requires()
    families = [task.get_task_family() for task in required]
    assert families == ["ProcessCcd", "GetTemplate"] * 4
    assert {(task.visit, task.detector) for task in required[::2]} == set(night.pairs)
    with_labels = training(night, labels="labels.csv").requires()
    assert sum(isinstance(task, DiffIm) for task in with_labels) == 4
    assert TrainReliability().requires() == []


def test_the_template_is_chosen_as_in_production(night):
    chosen = {"template_visits": "", "template_end": "2026-11-20", "template_max_inputs": 3}
    for task in training(night, **chosen, labels="labels.csv").requires():
        if not isinstance(task, ProcessCcd):
            assert {name: getattr(task, name) for name in chosen} == chosen
    named = training(night, template_visits="", template_name="deep").requires()
    assert {task.template_name for task in named[1::2]} == {"deep"}


def test_a_training_made_again_with_its_seed_is_the_same(night, processed):
    task = training(night, visits="", detectors="", nights=1, trees=10)
    files = []
    for rerun in (False, True):
        assert build(training(night, visits="", detectors="", nights=1, trees=10, rerun=rerun))
        files.append(Path(task.output()["model"].path).read_bytes())
    assert files[0] == files[1]


def test_labels_of_other_frames_are_refused(night, processed):
    task = training(night)
    [data_id, *_] = task.data_ids()
    frames = [(task.require(DiffIm, **data_id), task.require(ProcessCcd, **data_id))]
    labels = Labels(np.array([12345]), np.array([1], np.int8))
    with pytest.raises(
        DataError, match=r"1 detections that are on none of the 1 named frames, first of dia.* 12345"
    ):
        list(labelled_frames(labels, "labels.csv", frames))


def test_visit_comes_with_template_and_known_sources(night, processed):
    task = training(night)
    [data_id, *_] = task.data_ids()
    truth = read_catalog(night.files.truth_path)
    rows = truth[(truth["visit"] == data_id["visit"]) & (truth["detector"] == data_id["detector"])]
    known = processed / "known.csv"
    known.write_text("ra,dec\n" + "".join(f"{row['ra']:.9f},{row['dec']:.9f}\n" for row in rows))
    calexp, template = task.requires()[:2]
    pair = read_pair(calexp, template, str(known))
    assert pair.science.info.visit == data_id["visit"]
    np.testing.assert_allclose(pair.known, np.stack([rows["x"], rows["y"]], axis=1), atol=0.5)
    assert read_pair(calexp, template, "").known is None
    assert len(pair.sources) > 50


def test_detections_are_found_by_their_id():
    ids = np.concatenate([pack_source_ids(7, [1, 3, 4]), pack_source_ids(8, [1])])
    assert source_rows(ids, 7, 3).tolist() == [0, 2, -1, -1]


def test_simulated_pairs_leave_no_files_behind(tmp_path):
    pairs = simulated_pairs(tmp_path / "night", 5)
    first = next(pairs)
    assert (tmp_path / "night").is_dir()
    assert first.known.shape[1] == 2
    assert first.science.unit == first.template.unit == "nJy"
    pairs.close()
    assert not (tmp_path / "night").exists()
