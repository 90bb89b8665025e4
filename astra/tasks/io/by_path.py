"""The file task that a path stands for."""

from __future__ import annotations

import os

from astra.errors import ConfigError
from astra.products.sdss_path_tables import SDSS_IV, SPEC_KINDS
from astra.products.sdss_paths import release_of
from astra.tasks.base import AstraTask
from astra.tasks.io import sdss4, sdss5
from astra.tasks.io.local import LocalTargetTask
from astra.tasks.io.sdss import SDSSDataModelTask, sdss_tree

_TASKS: dict[bool, dict[str, type[SDSSDataModelTask]]] = {
    True: {"apVisit": sdss4.ApVisitFile, "apStar": sdss4.ApStarFile, "spec": sdss4.SpecFile},
    False: {
        "apVisit": sdss5.ApVisitFile,
        "apStar": sdss5.ApStarFile,
        "spec": sdss5.SpecFile,
        **dict.fromkeys(SPEC_KINDS.values(), sdss5.SpecFile),
    },
}


def absolute_path(path: str) -> str:
    """Return a path as it is, or below the SDSS tree if it is relative."""
    return os.path.join(sdss_tree("sdss5").sas_base_dir, path)


def file_task(product: str, path: str, use_remote: bool = False) -> AstraTask:
    """Return the task of a file: by its keys if it lies in the SDSS tree, else by its path.

    Parameters
    ----------
    product : str
        Name of the product, as in the survey's paths.
    path : str
        The file, absolute or below the SDSS tree.
    use_remote : bool, optional
        Whether it may be fetched.

    Returns
    -------
    task : AstraTask
        A file task of `astra.tasks.io.sdss4` or `astra.tasks.io.sdss5`, or a `LocalTargetTask`.
    """
    full = absolute_path(path)
    root = sdss_tree("sdss5").sas_base_dir.rstrip("/") + "/"
    release = release_of(full.removeprefix(root)) if full.startswith(root) else None
    task_class = _TASKS[release in SDSS_IV].get(product) if release else None
    if release is None or task_class is None:
        return LocalTargetTask(path=full)
    name = task_class.sdss_data_model_name
    try:
        keys = sdss_tree(release).extract(name, full)  # a product may also go by a name of its kind alone
    except ConfigError:
        return LocalTargetTask(path=full)
    if "fieldid" in keys:
        keys["plate"] = keys.pop("fieldid")
    return task_class(release=release, use_remote=use_remote, **keys)
