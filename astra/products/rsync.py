"""Fetch files with the program rsync: one call for all files of a module, the first folder of a path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from astra.errors import AstraError, ConfigError, DataError, MissingDataError
from astra.products.http_login import netrc_login, netrc_path
from astra.products.progress import Progress

PARTIAL_FOLDER = ".rsync-partial"
REPORT_INTERVAL_S = 10.0
_TRY_AGAIN = frozenset({10, 12, 30, 35})  # socket, protocol stream, timeouts
_PARTIAL = frozenset({0, 23, 24})  # done, but for files that say so themselves
_REASON = re.compile(r'rsync: [^"]*"(?P<path>.*)"(?: \(in [^)]*\))?[^:"]*: (?P<reason>.*)')


@dataclass(frozen=True)
class RsyncConfig:
    """How files are fetched.

    Parameters
    ----------
    server : str
        ``rsync://host:port``, with a user if the server wants a login.
    password_file : str or Path
        File that holds the password alone; empty for that of ``RSYNC_PASSWORD`` of the environment, else of
        the entry of the server in ``.netrc``.
    program : str
        The program.
    timeout_s : int
        How long the server may be silent [s].
    n_attempts : int
        How often to try if the connection breaks.
    pause_s : float
        Time before the second attempt, doubled before each further one [s].
    """

    server: str
    password_file: str | Path = ""
    program: str = "rsync"
    timeout_s: int = 60
    n_attempts: int = 4
    pause_s: float = 1.0


def rsync_files(
    locations: Iterable[str],
    sas_base_dir: str | Path,
    config: RsyncConfig,
    *,
    progress: Progress | None = None,
) -> dict[str, AstraError]:
    """Fetch files of the SAS.

    Each appears whole or not at all. What has arrived of one waits in a folder `PARTIAL_FOLDER` beside it.

    Parameters
    ----------
    locations : iterable of str
        Paths below the SAS.
    sas_base_dir : str or Path
        Top of the local copy; missing folders are made.
    config : RsyncConfig
        How.
    progress : Progress, optional
        What counts them, and tells how far it is.

    Returns
    -------
    errors : dict of str to AstraError
        Why a file is not here, by its path. Those that are not named are.

    Raises
    ------
    ConfigError
        If the program is not installed, or the password file is not there.
    """
    if shutil.which(config.program) is None:
        message = f"the program {config.program} is not installed: apt-get install rsync, or fetch by http"
        raise ConfigError(message, program=config.program)
    environment, options = _login(config)
    modules: dict[str, dict[str, str]] = {}
    for location in locations:
        module, _, rest = location.partition("/")
        modules.setdefault(module, {})[rest] = location
    errors: dict[str, AstraError] = {}
    for module, files in modules.items():
        source, target = f"{config.server}/{module}", Path(sas_base_dir, module)
        call = _Call(source, target, config, environment, options, progress or Progress())
        errors |= {files[rest]: error for rest, error in call.fetch(list(files)).items()}
    return errors


@dataclass(frozen=True)
class _Call:
    """A call of the program for files of one module."""

    source: str
    target: Path
    config: RsyncConfig
    environment: Mapping[str, str]
    options: tuple[str, ...]
    progress: Progress

    def fetch(self, files: list[str]) -> dict[str, AstraError]:
        """Return why files are not here."""
        before = {name: _state(self.target / name) for name in files}
        self.target.mkdir(parents=True, exist_ok=True)
        code, said = 0, ""
        for attempt in range(self.config.n_attempts):
            if attempt:
                time.sleep(self.config.pause_s * 2 ** (attempt - 1))
            code, said = self._run(files)
            if code not in _TRY_AGAIN and "max connections" not in said:
                break
        unchanged = {name for name in files if _state(self.target / name) in (None, before[name])}
        if code not in _PARTIAL:
            return dict.fromkeys(unchanged, self._error(code, said))
        reasons = _reasons(said)
        failed = {name for name in unchanged if name in reasons or before[name] is None}
        return {name: self._file_error(name, reasons) for name in failed}

    def _run(self, files: list[str]) -> tuple[int, str]:
        """Run the program; its standard input is the list of files, so that it can ask nobody."""
        command = [
            self.config.program,
            *("--times", "--copy-links", "--keep-dirlinks", "--omit-dir-times", "--no-implied-dirs"),
            *("--no-motd", f"--partial-dir={PARTIAL_FOLDER}", f"--timeout={self.config.timeout_s}"),
            *(
                f"--contimeout={self.config.timeout_s}",
                "--files-from=-",
                "--from0",
                "--out-format=%l %n",
                *self.options,
            ),
            *(f"{self.source}/", f"{self.target}/"),
        ]
        with tempfile.TemporaryFile() as names, tempfile.TemporaryFile() as said:
            names.write("\0".join(files).encode())
            names.seek(0)
            with subprocess.Popen(  # noqa: S603  # no shell, and paths come by standard input
                command,
                stdin=names,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, **self.environment, "LC_ALL": "C"},
                start_new_session=True,
            ) as process:
                try:
                    self._listen(process)
                except BaseException:
                    process.kill()
                    raise
            said.seek(0)
            return process.returncode, said.read().decode(errors="replace")

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Count the files that the program names as they arrive."""
        for line in process.stdout or ():
            size, _, name = line.strip().partition(b" ")
            if not name.endswith(b"/"):
                self.progress.add_file()
                self.progress.add_bytes(int(size) if size.isdigit() else 0)
                self.progress.report_if_due(REPORT_INTERVAL_S)

    def _file_error(self, name: str, reasons: Mapping[str, str]) -> AstraError:
        address = f"{self.source}/{name}"
        reason = reasons.get(name, "the server does not say why")
        if "No such file" in reason:
            return MissingDataError(f"{address} does not exist", url=address)
        return DataError(f"{address} could not be fetched: {reason}", url=address, reason=reason)

    def _error(self, code: int, said: str) -> AstraError:
        """Return the error of a call as a whole."""
        context = {"url": self.source, "exit_status": code}
        last = next((line[line.index("@") :] for line in said.splitlines() if "@ERROR" in line), "")
        if "auth" in last:
            return ConfigError(f"{self.source} {_about_login(self.source, self.config)}", **context)
        if "Unknown module" in last:
            return MissingDataError(f"{self.source} does not exist: the server has no such module", **context)
        reason = last or next((line for line in said.splitlines() if line.strip()), f"exit status {code}")
        attempts = f" in {self.config.n_attempts} attempts" if code in _TRY_AGAIN else ""
        return DataError(f"{self.source} could not be fetched{attempts}: {reason}", **context)


def _login(config: RsyncConfig) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return environment and options that carry the password: it must not stand in a list of processes."""
    if config.password_file:
        path = Path(config.password_file)
        if not path.is_file():
            message = f"password file {path} of rsync does not exist"
            raise ConfigError(message, path=str(path))
        return {}, (f"--password-file={path}",)
    parts = urlsplit(config.server)
    if os.environ.get("RSYNC_PASSWORD") or not parts.username:
        return {}, ()
    login = netrc_login(parts.hostname or "", default=False)
    return ({"RSYNC_PASSWORD": login[1]} if login else {}), ()


def _about_login(source: str, config: RsyncConfig) -> str:
    """Say what is wrong with a login, and what to do about it."""
    parts = urlsplit(source)
    if not parts.username:
        return "needs a login: the server's address must name a user, as rsync://USER@HOST"
    if config.password_file:
        return f"refuses the login of {parts.username}: see the password file {config.password_file}"
    if os.environ.get("RSYNC_PASSWORD"):
        return f"refuses the login of {parts.username}: see RSYNC_PASSWORD of the environment"
    where = f"the entry of machine {parts.hostname} in {netrc_path()}"
    try:
        known = netrc_login(parts.hostname or "", default=False)
    except ConfigError:
        known = None
    if known:
        return f"refuses the login of {parts.username}: {where} was refused"
    return f"needs the password of {parts.username}: RSYNC_PASSWORD is not set, and {where} is missing"


def _reasons(said: str) -> dict[str, str]:
    """Return what the program says of files, by their path below the module."""
    found = {}
    for line in said.splitlines():
        match = _REASON.match(line)
        if match:
            found[match["path"].lstrip("/")] = match["reason"]
    return found


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
