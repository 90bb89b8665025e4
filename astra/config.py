"""Configuration: the sections of luigi.cfg that astra reads, each option typed and described."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import luigi
import luigi.interface

from astra.errors import ConfigError

DEFAULT_DATABASE_URL = "sqlite:///astra.db"
SCHEDULER_URL_VARIABLE = "ASTRA_SCHEDULER_URL"
EXECUTOR_VARIABLE = "ASTRA_EXECUTOR"
_SQLITE_PREFIX = "sqlite:///"
_SECRET_WORDS = ("password", "username", "secret", "token")


class astra(luigi.Config):
    """The section ``[astra]``."""

    root = luigi.Parameter(
        default="", description="Folder of products and of the default database; default: the current folder."
    )
    database_url = luigi.Parameter(
        default="",
        description=f"SQLAlchemy URL of the state database; default {DEFAULT_DATABASE_URL} under root.",
    )
    reference_catalog = luigi.Parameter(
        default="",
        description="Reference catalogue (file, or folder of shards) for ProcessCcd, if the task names none.",
    )
    instruments = luigi.Parameter(
        default="", description="Cameras of one's own: TOML files, separated by colons."
    )
    thresholds = luigi.Parameter(
        default="",
        description="Thresholds of the lights of a night, a TOML file; default: those that come with astra.",
    )
    check_inputs = luigi.BoolParameter(
        default=True,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="Whether a task that is done runs again if a file that it depends on has changed since.",
    )
    task_memory_mib = luigi.FloatParameter(
        default=0.0,
        description="Memory that a task and what it starts may use; beyond it the task is ended and has "
        "failed [MiB]. 0 for any amount. A task's worker_memory_mib comes first.",
    )
    tasks_per_process = luigi.IntParameter(
        default=0,
        description="How many tasks a worker's process runs before another one replaces it; 0 for any.",
    )
    process_memory_mib = luigi.FloatParameter(
        default=0.0,
        description="A worker's process that keeps more memory than this after a task is replaced [MiB]. "
        "0 for any amount.",
    )
    stop_grace_s = luigi.FloatParameter(
        default=20.0,
        description="How long tasks may go on after their worker was told to end by SIGTERM [s].",
    )
    executor = luigi.Parameter(
        default="local",
        description="Where tasks run: local, slurm, dask or that of a plug-in; [executors] has other ones by "
        "task family.",
    )
    retry_delay_factor = luigi.FloatParameter(
        default=2.0,
        description="By which the [scheduler] retry_delay grows after the second and each further failure in "
        "a row; 1 for a constant delay.",
    )
    retry_delay_max_s = luigi.FloatParameter(
        default=14400.0, description="Delay to which it grows, unless retry_delay is longer itself [s]."
    )
    max_process_deaths = luigi.IntParameter(
        default=3,
        description="After how many runs in a row that ended their process or worker a task is disabled; "
        "0 for never.",
    )
    job_logs_days = luigi.FloatParameter(
        default=30.0,
        description="How long the outputs of jobs of executors that were lost or failed stay in jobs below "
        "the root [d]; 0 for ever.",
    )
    web_url = luigi.Parameter(
        default="", description="Address of astra web: the scheduler's page then links each task to its page."
    )
    plain_luigi = luigi.BoolParameter(
        default=False, description="Whether the luigi command keeps to its own options; see astra.tasks.hook."
    )
    sas_base_dir = luigi.Parameter(
        default="", description="Top of the SDSS tree of products; default: environment SAS_BASE_DIR."
    )
    sas_server = luigi.Parameter(
        default="", description="Address below which the SDSS tree is, in place of the survey's own."
    )
    sas_rsync_server = luigi.Parameter(
        default="", description="The same for rsync: rsync://USER@HOST:PORT, with the modules of the survey."
    )
    rsync_login_file = luigi.Parameter(
        default="",
        description="File with the password for rsync; default: environment RSYNC_PASSWORD, else ~/.netrc.",
    )


class astra_kafka(luigi.Config):
    """The section ``[astra_kafka]``: where alerts are sent; credentials come from the environment alone."""

    servers = luigi.Parameter(default="", description="Kafka brokers: host:port, separated by commas.")
    topic = luigi.Parameter(default="", description="Topic of alerts in Rubin's format.")
    ztf_topic = luigi.Parameter(default="", description="Topic of alerts in ZTF's format.")
    security_protocol = luigi.ChoiceParameter(
        default="PLAINTEXT",
        choices=["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        description="How brokers are spoken to; SASL takes ASTRA_KAFKA_USERNAME and ASTRA_KAFKA_PASSWORD.",
    )
    sasl_mechanism = luigi.Parameter(default="SCRAM-SHA-512", description="How SASL proves who one is.")
    ca_file = luigi.Parameter(default="", description="Certificates of the authority, for SSL.")
    compression = luigi.ChoiceParameter(
        default="snappy",
        choices=["none", "gzip", "snappy", "lz4", "zstd"],
        description="Compression of batches.",
    )
    max_message_bytes = luigi.IntParameter(
        default=1_000_000, description="Largest message that the brokers take [byte]."
    )
    delivery_timeout_s = luigi.FloatParameter(
        default=30.0, description="How long an alert is tried before it counts as failed [s]."
    )


class JobOptions:
    """What the sections of all executors have."""

    members_per_job = luigi.IntParameter(
        default=100, description="Most members of a batch that one job runs, one after the other."
    )
    attempts = luigi.IntParameter(
        default=3, description="How often the same work is submitted before a lost job counts as failed."
    )
    start_within_min = luigi.FloatParameter(
        default=0.0,
        description="Time after which a job that has not started is submitted again [min]; 0 for no limit.",
    )


class slurm(JobOptions, luigi.Config):
    """The section ``[slurm]``: how tasks run as arrays of jobs; ``[slurm:FAMILY]`` is for one family."""

    poll_s = luigi.FloatParameter(
        default=5.0, description="Time between two looks at the rows of the jobs in the database [s]."
    )
    ask_s = luigi.FloatParameter(
        default=20.0,
        description="Time between two questions to Slurm about jobs that have written no end [s]; it grows "
        "while Slurm does not answer.",
    )
    partition = luigi.Parameter(default="", description="Partition, as of sbatch.")
    account = luigi.Parameter(default="", description="Account, as of sbatch.")
    qos = luigi.Parameter(default="", description="Quality of service, as of sbatch.")
    constraint = luigi.Parameter(default="", description="Features that a node must have, as of sbatch.")
    time = luigi.Parameter(default="", description="Time limit of a job [min], or as 02:00:00 or 1-12:00.")
    max_time = luigi.Parameter(
        default="", description="Largest time limit [min], up to which it grows for what ran out of it."
    )
    time_factor = luigi.FloatParameter(default=2.0, description="Factor by which a time limit grows.")
    memory = luigi.Parameter(default="", description="Memory of a job [MB], or as 4G.")
    max_memory = luigi.Parameter(
        default="", description="Largest memory [MB], up to which it grows for what was killed for it."
    )
    memory_factor = luigi.FloatParameter(default=2.0, description="Factor by which the memory grows.")
    cpus = luigi.IntParameter(default=1, description="Cores of a job.")
    max_running = luigi.IntParameter(
        default=0, description="Most jobs of one array that run at a time; 0 for no limit."
    )
    array_size = luigi.IntParameter(
        default=1000,
        description="Most jobs of one array, if the cluster's MaxArraySize is not less; an array for which "
        "there is no room is halved.",
    )
    extra = luigi.Parameter(
        default="", description="Further options of sbatch, one a line, as --exclusive or --gres=gpu:1."
    )
    setup = luigi.Parameter(default="", description="Lines of shell that a job runs first.")


class dask(JobOptions, luigi.Config):
    """The section ``[dask]``: how tasks run on Dask; ``[dask:FAMILY]`` is for one family."""

    poll_s = luigi.FloatParameter(
        default=2.0, description="Time between two looks at the rows of the jobs in the database [s]."
    )
    ask_s = luigi.FloatParameter(
        default=0.0, description="Time between two questions to Dask, if it is longer than poll_s [s]."
    )
    address = luigi.Parameter(
        default="", description="Dask scheduler, as tcp://HOST:PORT; default: workers on this host alone."
    )
    workers = luigi.IntParameter(
        default=0, description="Workers on this host, where no address is given; 0 for one a core."
    )
    worker_resources = luigi.Parameter(
        default="", description="What a job takes of Dask's abstract resources, as GPU=1,MEMORY=4e9."
    )


_EXECUTORS = "executors"


def executor_name(family: str) -> str:
    """Return the name of the executor of a task family.

    It is that of the environment, ``ASTRA_EXECUTOR``, of ``[executors]``, or ``[astra] executor``.
    """
    if forced := os.environ.get(EXECUTOR_VARIABLE):
        return forced
    names: dict[str, str] = _once(_EXECUTORS, lambda: section_options(_EXECUTORS))
    return str(names.get(family) or option("executor"))


def names_of_families() -> list[tuple[str, str]]:
    """Return what luigi.cfg says of single task families: where, in words, and the name of the family."""
    stored = luigi.configuration.get_config()
    sections = list(stored.data) if hasattr(stored, "data") else stored.sections()
    found = [(f"section [{name}]", name.partition(":")[2]) for name in sections if ":" in name]
    return found + [
        (f"option {name} of section [{_EXECUTORS}]", name) for name in _stored_options(_EXECUTORS)
    ]


def executor_options(executor: str, family: str) -> dict[str, Any]:
    """Return the options of an executor for a task family: of ``[NAME:FAMILY]``, else of ``[NAME]``.

    They are typed where the section is one of ours, else as they stand in luigi.cfg.

    Raises
    ------
    ConfigError
        If one is unknown or cannot be read.
    """
    own: Any = globals().get(executor)
    is_ours = isinstance(own, type) and issubclass(own, luigi.Config)
    declared: dict[str, luigi.Parameter] | None = dict(own.get_params()) if is_ours else None
    found: dict[str, Any] = {}
    for section in (executor, f"{executor}:{family}"):
        given = {name.replace("-", "_"): value for name, value in _stored_options(section).items()}
        if declared is not None:
            given = {name: _typed(section, declared, name, value) for name, value in given.items()}
        found.update(given)
    return found


def _typed(section: str, declared: dict[str, luigi.Parameter], name: str, value: Any) -> Any:
    if name not in declared:
        message = f"section [{section}] has no option {name!r}; known are {', '.join(declared)}"
        raise ConfigError(message, section=section, option=name)
    try:
        return declared[name].parse(value) if isinstance(value, str) else value
    except ValueError as exc:
        message = f"option {name} of section [{section}] cannot be read, found {value!r}: {exc}"
        raise ConfigError(message, section=section, option=name) from exc


def _stored_options(section: str) -> dict[str, Any]:
    """Return the options of a section as they stand in luigi.cfg: TOML, or INI."""
    stored = luigi.configuration.get_config()
    if not section or not stored.has_section(section):
        return {}
    return dict(stored.data[section] if hasattr(stored, "data") else stored[section])


def section_options(section: str) -> dict[str, Any]:
    """Return the options of a section: typed where it is one of ours, else as they stand in luigi.cfg.

    Raises
    ------
    ConfigError
        If the section holds what must only come from the environment.
    """
    found = _stored_options(section)
    secrets = [name for name in found if any(word in name.lower() for word in _SECRET_WORDS)]
    if secrets:
        message = (
            f"section [{section}] must not hold {', '.join(secrets)}: credentials come from the environment"
        )
        raise ConfigError(message, section=section, options=secrets)
    own = globals().get(section)
    if isinstance(own, type) and issubclass(own, luigi.Config):
        return dict(own().param_kwargs)
    return found


_held: dict[str, Any] | None = None


@contextmanager
def held() -> Iterator[None]:
    """Read `root`, `database_url` and the options of ``[astra]`` once: tasks ask for them many times each."""
    global _held  # noqa: PLW0603  # as the configuration itself
    before, _held = _held, {} if _held is None else _held
    try:
        yield
    finally:
        _held = before


def _once(name: str, read: Callable[[], Any]) -> Any:
    if _held is None:
        return read()
    if name not in _held:
        _held[name] = read()
    return _held[name]


def option(name: str) -> Any:
    """Return one option of ``[astra]``; to make an object of the section would read them all."""
    parameter: luigi.Parameter = getattr(astra, name)
    return _once(name, lambda: parameter.task_value("astra", name))


def root() -> Path:
    """Return the folder of products: ``ASTRA_ROOT`` of the environment, ``[astra] root``, or the current."""
    folder: Path = _once(
        "root()", lambda: Path(os.environ.get("ASTRA_ROOT") or option("root") or ".").expanduser().absolute()
    )
    return folder


def instrument_files() -> list[Path]:
    """Return the files of the cameras that ``[astra] instruments`` names."""
    return [Path(path).expanduser().absolute() for path in option("instruments").split(os.pathsep) if path]


def thresholds_file() -> Path | None:
    """Return the file of thresholds that ``[astra] thresholds`` names; None if it names none."""
    named = option("thresholds")
    return Path(named).expanduser().absolute() if named else None


def own_database(folder: Path) -> Path:
    """Return the file of the SQLite database that a root of its own has."""
    return folder / "astra.db"


def own_database_url(folder: Path) -> str:
    """Return the URL of `own_database`."""
    return _SQLITE_PREFIX + str(own_database(folder))


def database_url() -> str:
    """Return the URL of the database: environment ``ASTRA_DATABASE_URL``, else ``[astra] database_url``.

    A relative SQLite path is below `root`.
    """
    return str(_once("database_url()", _read_database_url))


def scheduler_url() -> str:
    """Return the URL of the central scheduler: environment ``ASTRA_SCHEDULER_URL``, else section ``[core]``.

    There it is ``default-scheduler-url``, or host and port.
    """
    url = os.environ.get(SCHEDULER_URL_VARIABLE, "")
    if not url:
        options = luigi.interface.core()
        url = options.scheduler_url or f"http://{options.scheduler_host}:{options.scheduler_port}/"
    return str(url)


def _read_database_url() -> str:
    url = os.environ.get("ASTRA_DATABASE_URL") or option("database_url") or DEFAULT_DATABASE_URL
    if not url.startswith(_SQLITE_PREFIX):
        return url
    path = url.removeprefix(_SQLITE_PREFIX)
    if not path or path == ":memory:":
        message = (
            f"database_url is {url!r}, but state must outlive a process; "
            f"name a file, e.g. {DEFAULT_DATABASE_URL}"
        )
        raise ConfigError(message, url=url)
    return _SQLITE_PREFIX + str(root() / path)
