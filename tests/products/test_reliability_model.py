"""Files of reliability models: exact, without pickles, and refused when they are not what they should be."""

import json

import numpy as np
import pytest

from astra.errors import FormatError, MissingDataError
from astra.images.reliability import MODEL_ARRAYS
from astra.images.reliability_features import FEATURES_VERSION
from astra.products.reliability_model import (
    load_reliability_model,
    read_reliability_model,
    shipped_reliability_model,
    write_reliability_model,
)
from tests.images.test_reliability import ROWS, make_model, table


def contents(path):
    with np.load(path, allow_pickle=False) as archive:
        found = {name: archive[name] for name in archive.files}
    return json.loads(str(found.pop("header"))), found


def rewrite(path, header, arrays):
    np.savez(path, header=np.array(json.dumps(header)), **arrays)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "folder" / "model.npz"
    write_reliability_model(
        path, make_model(slope=1.7, intercept=-0.3, report={"seed": 3, "rows": [1, None]})
    )
    return path


def test_model_comes_back_exactly(written):
    expected, found = make_model(slope=1.7, intercept=-0.3), read_reliability_model(written)
    assert found.version == expected.version
    assert found.report == {"seed": 3, "rows": [1, None]}
    assert found.feature_names == expected.feature_names
    for name, kind in MODEL_ARRAYS.items():
        assert getattr(found, name).dtype == np.dtype(kind)
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.score(table(**ROWS)), expected.score(table(**ROWS)))


def test_equal_models_are_equal_bytes(written, tmp_path):
    write_reliability_model(tmp_path / "again.npz", read_reliability_model(written))
    assert (tmp_path / "again.npz").read_bytes() == written.read_bytes()


def test_missing_file_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"the reliability model .*nowhere\.npz is not there"):
        read_reliability_model(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_other_files_are_no_models(tmp_path, content):
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(FormatError, match="is no reliability model"):
        read_reliability_model(tmp_path / "other.npz")


def test_archives_of_others_are_no_models(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FormatError, match="is no reliability model"):
        read_reliability_model(tmp_path / "other.npz")
    rewrite(tmp_path / "other.npz", {"kind": "something else"}, {})
    with pytest.raises(FormatError, match="is no reliability model"):
        read_reliability_model(tmp_path / "other.npz")


def test_pickled_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "pickled.npz", header=np.array({"kind": "x"}, dtype=object))
    with pytest.raises(FormatError, match="is no reliability model"):
        read_reliability_model(tmp_path / "pickled.npz")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("format", r"is of version 99 of the format, but this software is of version \d+; train it again"),
        (
            "features_version",
            rf"is of version 99 of the features, but this software is of version {FEATURES_VERSION}; train",
        ),
    ],
)
def test_other_versions_are_refused(written, key, message):
    header, arrays = contents(written)
    rewrite(written, {**header, key: 99}, arrays)
    with pytest.raises(FormatError, match=message) as caught:
        read_reliability_model(written)
    assert str(caught.value).count("\n") == 0


def test_other_shapes_are_refused(written):
    header, arrays = contents(written)
    rewrite(written, header, {**arrays, "left": arrays["left"][:, :3]})
    with pytest.raises(FormatError, match="has not the shape of one: left of a reliability model"):
        read_reliability_model(written)
    rewrite(written, header, {name: arrays[name] for name in list(arrays)[1:]})
    with pytest.raises(FormatError, match="has not the shape of one"):
        read_reliability_model(written)


def test_changed_content_is_refused(written):
    header, arrays = contents(written)
    rewrite(written, header, {**arrays, "value": arrays["value"] + np.float32(0.5)})
    with pytest.raises(FormatError, match="is damaged: it says that it is version"):
        read_reliability_model(written)


def test_names_of_models(written):
    assert load_reliability_model("none") is None
    assert load_reliability_model(str(written)).version == read_reliability_model(written).version
    assert load_reliability_model("") is shipped_reliability_model()


def test_shipped_model_is_small_and_says_how_it_was_trained():
    model = shipped_reliability_model()
    assert model.report["cut"]["purity"] >= 0.95
    assert model.report["atCompleteness"]["purity"] >= 0.95
    assert model.report["version"] == model.version


def test_shipped_model_has_seen_simulated_frames_alone():
    frames = shipped_reliability_model().report["frames"]
    assert len(frames) >= 40
    assert all(frame["name"].startswith("simulation ") for frame in frames)
