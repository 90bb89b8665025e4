"""Reliability models as files: a numpy archive of plain arrays and a text, without pickles.

The text is JSON: what the arrays mean, the version of the model, and the report of its training. Equal models
give equal bytes.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from astra.errors import FormatError, MissingDataError
from astra.images.reliability import MODEL_ARRAYS, ReliabilityModel
from astra.images.reliability_features import FEATURES_VERSION
from astra.products.atomic import atomic_path

KIND = "astra reliability model"
FORMAT = 1
"""Grows when the file is laid out otherwise: files of another format are refused."""

NO_MODEL = "none"
SHIPPED = "reliability.npz"

_SCALARS = ("offset", "slope", "intercept", "depth", "features_version")


def write_reliability_model(path: Path | str, model: ReliabilityModel) -> None:
    """Write a model; the file appears whole or not at all.

    Parameters
    ----------
    path : Path or str
        Where to, ending in ``.npz``; missing folders are made.
    model : ReliabilityModel
        Its report must be of text, finite numbers, lists and mappings.
    """
    header = {
        "kind": KIND,
        "format": FORMAT,
        "version": model.version,
        "feature_names": list(model.feature_names),
        **{name: getattr(model, name) for name in _SCALARS},
        "report": dict(model.report),
    }
    text = np.array(json.dumps(header, allow_nan=False, sort_keys=True))
    arrays = {name: getattr(model, name) for name in MODEL_ARRAYS}
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, header=text, **arrays)


def read_reliability_model(path: Path | str) -> ReliabilityModel:
    """Read a model.

    Raises
    ------
    MissingDataError
        If there is no such file.
    FormatError
        If it is no model, is damaged, or is of another version than this software.
    """
    path = Path(path)
    if not path.is_file():
        message = f"the reliability model {path} is not there"
        raise MissingDataError(message, path=str(path))
    try:
        # Opened here: numpy leaves a broken archive open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        header = json.loads(str(content.pop("header")))
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as exc:
        message = f"{path} is no reliability model of astra: it cannot be read as one"
        raise FormatError(message, path=str(path)) from exc
    _check_versions(path, header)
    return _model(path, header, content)


def _check_versions(path: Path, header: Any) -> None:
    """Refuse what this software cannot apply."""
    if not isinstance(header, Mapping) or header.get("kind") != KIND:
        message = f"{path} is no reliability model of astra: its header does not say so"
        raise FormatError(message, path=str(path))
    for name, found, expected in (
        ("format", header.get("format"), FORMAT),
        ("features", header.get("features_version"), FEATURES_VERSION),
    ):
        if found != expected:
            message = (
                f"the reliability model {path} is of version {found} of the {name}, but this software is of "
                f"version {expected}; train it again with TrainReliability"
            )
            raise FormatError(message, path=str(path), found=found, expected=expected)


def _model(path: Path, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> ReliabilityModel:
    """Make the model, and see whether it is the one that was written."""
    try:
        model = ReliabilityModel(
            feature_names=tuple(header["feature_names"]),
            **{name: arrays[name] for name in MODEL_ARRAYS},
            **{name: header[name] for name in _SCALARS},
            report=header["report"],
        )
    except (KeyError, TypeError, ValueError) as exc:
        message = f"the reliability model {path} has not the shape of one: {exc}"
        raise FormatError(message, path=str(path)) from exc
    if model.version != header.get("version"):
        message = (
            f"the reliability model {path} is damaged: it says that it is version {header.get('version')}, "
            f"but its content is that of version {model.version}"
        )
        raise FormatError(message, path=str(path), found=model.version)
    return model


def load_reliability_model(name: str) -> ReliabilityModel | None:
    """Return the model of a name.

    Parameters
    ----------
    name : str
        Path of a model; empty for the one that comes with astra, ``none`` for no model.

    Raises
    ------
    MissingDataError, FormatError
        As in `read_reliability_model`.
    """
    if name == NO_MODEL:
        return None
    return read_reliability_model(name) if name else shipped_reliability_model()


@cache
def shipped_reliability_model() -> ReliabilityModel:
    """Return the model that comes with astra; it was trained on simulated frames alone."""
    with as_file(files("astra.products") / SHIPPED) as path:
        return read_reliability_model(path)
