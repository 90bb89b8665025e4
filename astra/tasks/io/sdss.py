"""What the file tasks of all phases of SDSS share: a place in the survey's tree and an address."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import luigi

from astra import config
from astra.errors import ConfigError
from astra.products.sdss_paths import SdssPath
from astra.tasks.base import AstraTask

logger = logging.getLogger("luigi-interface")


def sdss_tree(release: str, public: bool = True, mirror: bool = False) -> SdssPath:
    """Return the paths of a release below ``[astra] sas_base_dir``, else ``SAS_BASE_DIR``, else ``~/sas``."""
    root = config.option("sas_base_dir") or os.environ.get("SAS_BASE_DIR") or str(Path.home() / "sas")
    return _cached_tree(release, root, public, mirror)


@functools.lru_cache(maxsize=64)
def _cached_tree(release: str, root: str, public: bool, mirror: bool) -> SdssPath:
    return SdssPath(release, sas_base_dir=root, public=public, mirror=mirror)


class SDSSDataProduct(luigi.LocalTarget):
    """A file of the survey.

    Parameters
    ----------
    path : str
        Where it is, or would be.
    url : str
        Where the survey has it.
    """

    def __init__(self, path: str, url: str) -> None:
        super().__init__(path)
        self.url = url


class SDSSDataModelTask(AstraTask):
    """A file of the survey, named by the keys of its path.

    The task is done if the file is there. Others make it, unless ``use_remote`` says that it may be fetched.
    Subclasses name the product and declare its keys as parameters.
    """

    sdss_data_model_name: ClassVar[str]

    release = luigi.Parameter(description="SDSS release, as sdss5 or dr17.")
    public = luigi.BoolParameter(
        default=True,
        significant=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Whether the release is on the public server; data releases always are.",
    )
    use_remote = luigi.BoolParameter(
        default=False,
        significant=False,
        parsing=luigi.BoolParameter.IMPLICIT_PARSING,
        description="Fetch the file if it is not there.",
    )
    remote_access_method = luigi.Parameter(
        default="http", significant=False, description="How a file is fetched: http."
    )
    mirror = luigi.BoolParameter(
        default=False,
        significant=False,
        parsing=luigi.BoolParameter.IMPLICIT_PARSING,
        description="Use the mirror of the server.",
    )
    verbose = luigi.BoolParameter(
        default=True,
        significant=False,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Log what is fetched.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.use_remote:
            setattr(self, "run", None)  # noqa: B010  # so Luigi knows that others make it

    @property
    def tree(self) -> SdssPath:
        """Paths of this release."""
        return sdss_tree(self.release, self.public, self.mirror)

    @property
    def local_path(self) -> str:
        """Path of the file.

        Raises
        ------
        ValueError
            If this is a batch: its members have a path each.
        """
        return self.tree.full(self.sdss_data_model_name, **self._single_kwargs())

    @property
    def remote_path(self) -> str:
        """Address of the file; ValueError if this is a batch."""
        return self.tree.url(self.sdss_data_model_name, **self._single_kwargs())

    @classmethod
    def get_local_path(
        cls,
        release: str,
        public: bool = True,
        mirror: bool = False,  # the task API of 2021
        verbose: bool = True,
        **keys: Any,
    ) -> str:
        """Return the path of a file without making its task.

        Parameters
        ----------
        release : str
            SDSS release.
        public : bool, optional
            As the parameter; like ``mirror`` and ``verbose`` it does not change the path.
        **keys
            Keys of the path.

        Raises
        ------
        ConfigError
            If a key is missing.
        """
        return sdss_tree(release, public).full(cls.sdss_data_model_name, **keys)

    def complete(self) -> bool:
        """Say whether the files are there, whatever the database says."""
        if self.is_external:
            return self._external_complete()
        return self._outputs_exist() or (self.is_required and super().complete())

    def stale_ids(self) -> set[str]:
        """Return the ids of members whose file is not there any more."""
        products = zip(self.member_ids(), self._products(), strict=True)
        return {task_id for task_id, product in products if not product.exists()}

    def run(self) -> None:
        """Fetch the files that are not there."""
        from astra.products.download import download

        if self.remote_access_method != "http":
            message = f"remote_access_method must be http, not {self.remote_access_method!r}"
            raise ConfigError(message, remote_access_method=self.remote_access_method)
        for task in self.pending_tasks():
            with task.recording():
                target = task.output()
                if not target.exists():
                    if self.verbose:
                        logger.info("fetching %s", target.url)
                    download(target.url, target.path)

    def output(self) -> Any:
        """Return the file, or those of a batch in order."""
        products = list(self._products())
        return products if self.is_batch_mode else products[0]

    def why_incomplete(self) -> str:
        """Name the files that are not there, and where the survey has them."""
        missing = [product for product in self._products() if not product.exists()]
        if not missing:
            return f"all files of {self!r} are there"
        count = f"{len(missing)} of {self.get_batch_size()} files do not exist; the first: "
        first = f"{missing[0].path} does not exist; the survey has it at {missing[0].url}"
        return (count if self.is_batch_mode else "") + first

    def _products(self) -> Iterator[SDSSDataProduct]:
        name, tree = self.sdss_data_model_name, self.tree
        for keys in self.get_batch_task_kwds():
            yield SDSSDataProduct(tree.full(name, **keys), tree.url(name, **keys))

    def _single_kwargs(self) -> dict[str, Any]:
        if self.is_batch_mode:
            message = f"{self!r} has a path for each member: use output() or get_batch_tasks()"
            raise ValueError(message)
        return dict(self.param_kwargs)

    def _external_complete(self) -> bool:
        is_complete = super()._external_complete()
        if not is_complete:
            logger.error(self.why_incomplete())
        return is_complete
