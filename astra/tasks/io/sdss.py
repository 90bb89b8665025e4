"""What the file tasks of all phases of SDSS share: a place in the survey's tree and an address."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import luigi

from astra import config
from astra.products.sdss_paths import SdssPath, default_versions, file_or_sibling
from astra.tasks.base import AstraTask
from astra.tasks.parameters import PathParameter

if TYPE_CHECKING:
    from astra.tasks.io.fetching import Member

logger = logging.getLogger("luigi-interface")


def sdss_tree(release: str, public: bool = True, mirror: bool = False) -> SdssPath:
    """Return the paths of a release below ``[astra] sas_base_dir``, else ``SAS_BASE_DIR``, else ``~/sas``."""
    root = config.option("sas_base_dir") or os.environ.get("SAS_BASE_DIR") or str(Path.home() / "sas")
    servers = (config.option("sas_server"), config.option("sas_rsync_server"))
    return _cached_tree(release, root, (bool(public), bool(mirror)), servers)


@functools.lru_cache(maxsize=64)
def _cached_tree(release: str, root: str, where: tuple[bool, bool], servers: tuple[str, str]) -> SdssPath:
    return SdssPath(release, root, *where, server=servers[0], rsync_server=servers[1])


class SDSSDataProduct(luigi.LocalTarget):
    """A file of the survey.

    Parameters
    ----------
    path : str
        Where it is, or would be.
    url : str, optional
        Where the survey has it.
    location : str, optional
        Where it is below the SAS; empty if it is not.
    is_fetched : bool, optional
        Whether an empty file counts as none: breaks of other programs leave such.
    """

    def __init__(self, path: str, url: str = "", location: str = "", is_fetched: bool = False) -> None:
        super().__init__(path)
        self.url = url
        self.location = location
        self.is_fetched = is_fetched

    def exists(self) -> bool:
        """Say whether the file is there."""
        return bool(super().exists()) and not (self.is_fetched and os.path.getsize(self.path) == 0)


class SDSSDataModelTask(AstraTask):
    """A file of the survey, named by the keys of its path.

    The task is done if the file is there. Others make it, unless ``use_remote`` says that it may be fetched.
    Subclasses name the product, any that `SdssPath` knows, and declare its keys as parameters, of
    `astra.tasks.io.keys` where a number and its text shall be the same. A version (``apred``, ``aspcap``,
    ``run2d``, ``v_astra``) that is empty is that of the release.
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
        default="http", significant=False, description="How a file is fetched: http or rsync."
    )
    n_connections = luigi.IntParameter(
        default=8, significant=False, description="Number of files that are fetched at a time, by http."
    )
    checksums = PathParameter(
        default="",
        significant=False,
        description="List of checksums that fetched files must have, as sha1sum and its like write it.",
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
        description="Log how far fetching is.",
    )

    @classmethod
    def get_param_values(cls, params: Any, args: Any, kwargs: Any) -> list[tuple[str, Any]]:
        """Return the parameter values; a version that is left out is that of the release."""
        values = dict(super().get_param_values(params, args, kwargs))
        for name, version in default_versions(values["release"]).items():
            value = values.get(name)
            if value == "":
                values[name] = version
            elif isinstance(value, tuple) and "" in value:
                values[name] = type(value)(one or version for one in value)
        return list(values.items())

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
        """Fetch the files that are not there; in a batch, one that cannot be fetched fails alone."""
        for member in self._fetch(self.remote_access_method, self.pending_tasks()):
            member.task.recorder = member.recorder
            try:
                with member.task.recording():
                    if member.error is not None:
                        raise member.error
                    if member.figures:
                        member.task.add_figures("fetch", member.figures)
            finally:
                if member.task is not self:
                    member.task.recorder = None

    def get_remote(self) -> Any:
        """Fetch the file, or those of a batch, by ``remote_access_method``, whatever ``use_remote`` says.

        Files that are there stay as they are.

        Returns
        -------
        path : str or list of str
            Where it is; for a batch, of all in order.

        Raises
        ------
        ValueError
            If the method is neither http nor rsync.
        MissingDataError
            If the survey has no such file.
        ConfigError
            If a login is missing or refused.
        DataError
            If it could not be fetched for another reason. Of a batch, all others have been fetched.
        """
        return self._get(self.remote_access_method)

    def get_remote_http(self) -> Any:
        """Fetch the file, or those of a batch, over HTTP; see `get_remote`."""
        return self._get("http")

    def get_remote_rsync(self) -> Any:
        """Fetch the file, or those of a batch, with rsync; see `get_remote`."""
        return self._get("rsync")

    def _get(self, method: str) -> Any:
        errors = [member.error for member in self._fetch(method, self.get_batch_tasks())]
        for error in errors:
            if error is not None:
                raise error
        outputs = self.output()
        return [product.path for product in outputs] if self.is_batch_mode else outputs.path

    def _fetch(self, method: str, members: Iterator[Any]) -> Iterator[Member]:
        from astra.tasks.io.fetching import FetchConfig, fetch_by_http, fetch_by_rsync

        ways = {"http": fetch_by_http, "rsync": fetch_by_rsync}
        if method not in ways:
            message = f"remote_access_method must be {' or '.join(ways)}, not {method!r}"
            raise ValueError(message)
        settings = FetchConfig(
            self.tree, self.n_connections, self.checksums, self.get_batch_size(), bool(self.verbose)
        )
        return ways[method](members, settings, settings.progress(self.set_status_message))

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
        tree, name = self.tree, self.sdss_data_model_name
        for keys in self.get_batch_task_kwds():
            location = tree.location(name, **keys)
            path = file_or_sibling(os.path.join(tree.sas_base_dir, location))
            yield SDSSDataProduct(path, tree.address(location), location, is_fetched=self.use_remote)

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
