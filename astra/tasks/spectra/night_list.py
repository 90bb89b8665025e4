"""The list of a night's spectra, and the parts into which they are divided."""

from __future__ import annotations

import functools
import hashlib
import math
from typing import TYPE_CHECKING

import luigi

from astra.tasks.spectra.analysis import file_state
from astra.tasks.spectra.night_source import NightTask

if TYPE_CHECKING:
    from astra.products.night_lists import NightFile

SPECTRA, STARS = "spectra", "stars"
VISIT = "apVisit"

Unit = tuple[str, tuple["NightFile", ...]]  # what is analysed, by its name, with its files


class ListNight(NightTask):
    """Write a list (CSV) of the spectra of a night, and of the earlier visits of its stars.

    It can be changed by hand and given as the manifest of a night.
    """

    runs_in_place = True

    @property
    def list_path(self) -> str:
        """Path of the list."""
        return str(self.output_base_dir / f"{self.mjd}-{self.task_id.rsplit('_', 1)[-1]}.csv")

    @property
    def must_rerun(self) -> bool:
        """Always: more may have been observed, or reduced, since."""
        return True

    def output(self) -> luigi.LocalTarget:
        """Return the list."""
        return luigi.LocalTarget(self.list_path)

    def run(self) -> None:
        """Read what was observed."""
        from astra.products.night_lists import write_night_list

        files = sorted(self.source.files(self.mjd), key=lambda file: (file.obj, file.mjd, file.path))
        write_night_list(self.list_path, files)
        self.add_figures("night", {"n_files": sum(file.mjd == self.mjd for file in files)})

    def units(self, kind: str) -> tuple[Unit, ...]:
        """Return what is analysed: each spectrum of the night, or each of its stars with all visits.

        None if the list is not written yet.
        """
        return _units(self.list_path, file_state(self.list_path), self.mjd, kind)

    def part(self, kind: str, chunk: int, n_parts: int) -> tuple[Unit, ...]:
        """Return one of some parts of what is analysed, which are of about the same size."""
        parts = _parts(self.list_path, file_state(self.list_path), self.mjd, kind, n_parts)
        return parts[chunk]

    def n_parts(self, kind: str, size: int) -> int:
        """Return the number of parts of about a size."""
        return math.ceil(len(self.units(kind)) / max(size, 1))


@functools.lru_cache(maxsize=4)
def _units(path: str, state: tuple[int, int] | None, mjd: int, kind: str) -> tuple[Unit, ...]:
    """Read a list; its state tells one list from the next under one name."""
    from astra.products.night_lists import read_night_list

    files = read_night_list(path) if state is not None else []
    if kind == SPECTRA:
        return tuple((file.path, (file,)) for file in files if file.mjd == mjd)
    stars: dict[str, list[NightFile]] = {}
    for file in files:
        if file.product == VISIT and file.obj:
            stars.setdefault(file.obj, []).append(file)
    return tuple((obj, tuple(visits)) for obj, visits in stars.items())


@functools.lru_cache(maxsize=4)
def _parts(
    path: str, state: tuple[int, int] | None, mjd: int, kind: str, n_parts: int
) -> tuple[tuple[Unit, ...], ...]:
    """Divide by the hash of the name: what is new in a list changes the one part that it falls into."""
    parts: list[list[Unit]] = [[] for _ in range(n_parts)]
    for unit in _units(path, state, mjd, kind):
        digest = hashlib.sha256(unit[0].encode()).digest()
        parts[int.from_bytes(digest[:8]) % n_parts].append(unit)
    return tuple(map(tuple, parts))
