"""What tasks share that analyse spectra: files by product and path, read in turn and computed in blocks."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import luigi

from astra.errors import AstraError, DataError
from astra.tasks.base import AstraTask
from astra.tasks.batch import per_member
from astra.tasks.io.by_path import absolute_path, file_task
from astra.tasks.io.sdss import SDSSDataModelTask

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from astra.products.spectrum import Spectrum
    from astra.tasks.recording import Recorder

Row = dict[str, Any]
PICTURE = "picture"  # kind of product


class SpectrumTask(AstraTask):
    """An analysis of files of spectra; a file is named by its product and its path.

    So visits, stars and BOSS spectra, whose keys differ, can stand in one batch.
    """

    product = luigi.Parameter(
        batch_method=tuple, description="Product: apVisit, apStar, spec, specFull, specLite or spSpec."
    )
    path = luigi.Parameter(
        batch_method=tuple,
        description="The file, below the SDSS tree (machines may differ in it) or absolute.",
    )

    use_remote = luigi.BoolParameter(
        default=False, significant=False, description="Fetch files of the SDSS tree that are not there."
    )

    bad_pixels = luigi.Parameter(
        default="default",
        description="Bits of the mask (APOGEE_PIXMASK, SPPIXMASK) that make a pixel bad, by name, separated "
        "by commas, as in BADPIX,CRPIX,PERSIST_HIGH; 'default' for the reader's, 'none' for none.",
    )
    refused_flags = luigi.Parameter(
        default="",
        description="Bits of APOGEE_STARFLAG, by name, separated by commas: visits and stars with one of "
        "them are not measured, and have a row with the flag STAR_FLAGGED.",
    )
    pictures = luigi.BoolParameter(
        default=False,
        significant=False,
        description="Whether to draw a picture of each file of a batch; a single task always draws its own.",
    )
    has_picture = False

    @property
    def picture_path(self) -> Path:
        """Path of the picture of a single task."""
        folder = self.output_base_dir / self.task_id[-2:]
        return folder / f"{Path(self.path).stem}-{self.task_id.rsplit('_', 1)[-1]}.png"

    def product_rows(self) -> list[dict[str, Any]]:
        """Return a row for each file that was made, the picture included."""
        return super().product_rows() + (picture_rows(self.picture_path) if self.has_picture else [])

    @classmethod
    def of(cls, *files: SDSSDataModelTask, **kwargs: Any) -> Self:
        """Return the task for files that are given as file tasks, single or batches.

        Parameters
        ----------
        *files : SDSSDataModelTask
            One file, or any number and kind.
        **kwargs
            Other parameters.

        Returns
        -------
        task : SpectrumTask
            Single for one single file, else a batch in the order of the files.
        """
        named = [
            (task.sdss_data_model_name, task.tree.location(task.sdss_data_model_name, **keys))
            for task in files
            for keys in task.get_batch_task_kwds()
        ]
        if len(files) == 1 and not files[0].is_batch_mode:
            return cls(product=named[0][0], path=named[0][1], **kwargs)
        return cls(product=tuple(name for name, _ in named), path=tuple(path for _, path in named), **kwargs)

    def requires(self) -> Any:
        """Return the file.

        For a batch nothing if nothing may be fetched, so that a missing file stops its own member alone.
        """
        return [] if self.is_batch_mode and not self.use_remote else self._files()

    @per_member
    def _files(self) -> Any:
        return file_task(self.product, self.path, self.use_remote)

    @property
    def file_path(self) -> str:
        """Where the file of a single task is."""
        return str(getattr(self.requires().output(), "path", absolute_path(self.path)))


class BlockTask(SpectrumTask):
    """An analysis whose files are read in turn and computed in blocks.

    Subclasses name their table and write `prepare` and `analyse`.
    """

    table: ClassVar[str]
    block_files: ClassVar[int] = 32

    def adapt(self, spectrum: Spectrum) -> Spectrum:
        """Return the spectrum of a single task as it is analysed: as it is, unless a subclass changes it."""
        return spectrum

    def prepare(self) -> Any:
        """Return what all files need: templates, a model."""
        return None

    @abstractmethod
    def analyse(self, spectra: Sequence[Spectrum], prepared: Any) -> list[list[Row]]:
        """Return the rows of each file, without those columns that name task and file."""

    def write_product(self, spectrum: Spectrum, prepared: Any) -> None:
        """Write what the task makes beside its rows; nothing, unless a subclass does."""

    def draw(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> Figure | None:
        """Return the picture of one file, whose rows these are; none, unless a subclass has one."""
        return None

    def write_picture(self, spectrum: Spectrum, rows: Sequence[Row], prepared: Any) -> None:
        """Draw the picture of a single task, and write it."""
        from astra.products.spectrum_pictures import write_picture

        figure = self.draw(spectrum, rows, prepared)
        if figure is not None:
            write_picture(self.picture_path, figure)
            self.has_picture = True

    def run(self) -> None:
        """Analyse the files, and write the rows of each before its state says that it is done."""
        prepared = self.prepare()
        for block in read_blocks(self.pending_tasks(), self.block_files):
            results = self._analyse_block(block, prepared)
            self._write_rows(block, results)
            for member in block:
                with member.recording():
                    member.check_unchanged()
                    outcome = results[member.task.task_id]
                    if isinstance(outcome, Exception):
                        raise outcome
                    member.task.write_product(member.spectrum, prepared)
                    if self.pictures or not self.is_batch_mode:
                        member.task.write_picture(member.spectrum, outcome, prepared)

    def _analyse_block(self, block: Sequence[ReadMember], prepared: Any) -> dict[str, Any]:
        """Return rows, or an error, by task id; files are taken one by one if one of them stops all."""
        results: dict[str, Any] = {one.task.task_id: one.error for one in block if one.error is not None}
        whole = [one for one in block if one.error is None]
        try:
            found = self.analyse([one.spectrum for one in whole], prepared) if whole else []
        except (AstraError, ValueError, ArithmeticError):
            found = [_alone(self.analyse, one.spectrum, prepared) for one in whole]
        return results | {one.task.task_id: rows for one, rows in zip(whole, found, strict=True)}

    def file_columns(self, member: ReadMember) -> Row:
        """Return more columns of the table that hold for all rows of a file."""
        return {}

    def with_refused(self, rows: Sequence[Row], member: ReadMember) -> list[Row]:
        """Return rows with the flag of those that the survey's flags have kept from being measured."""
        from astra.products.spectrum_selection import refused_rows
        from astra.spectra.flags import SpectrumFlag

        if not self.refused_flags or member.spectrum is None:
            return list(rows)
        refused = refused_rows(member.spectrum, self.refused_flags)
        flag = int(SpectrumFlag.STAR_FLAGGED)
        return [{**row, "flags": row["flags"] | (flag if refused[row["row_index"]] else 0)} for row in rows]

    def _write_rows(self, block: Sequence[ReadMember], results: Mapping[str, Any]) -> None:
        """Write the rows of a block in one transaction; what failed has a row that says so."""
        from astra.database.engine import transaction
        from astra.database.spectra import spectrum_table, write_spectrum_rows
        from astra.spectra.flags import SpectrumFlag

        table = spectrum_table(self.table)
        rows = {}
        for one in block:
            found = results[one.task.task_id]
            if isinstance(found, Exception):
                failed = SpectrumFlag.READ_FAILED if one.error is not None else SpectrumFlag.FIT_FAILED
                keys = dict.fromkeys(table.primary_key.columns.keys()[2:], "")
                found = [{"row_index": 0, "kind": "", "flags": int(failed), **keys}]
            names = {"product": one.task.product, "path": one.path, **self.file_columns(one)}
            empty = {column.name: None for column in table.columns if column.nullable}
            rows[one.task.task_id] = [{**empty, **names, **row} for row in one.task.with_refused(found, one)]
        with transaction(self.database_url) as connection:
            write_spectrum_rows(connection, table, rows)


@dataclass
class ReadMember:
    """A member whose file has been read, or could not be."""

    task: Any
    recorder: Recorder | None
    path: str
    state: tuple[int, int] | None
    spectrum: Any
    error: Exception | None

    def recording(self) -> Any:
        """Record what happens inside as this member's."""
        self.task.recorder = self.recorder
        return self.task.recording()

    def check_unchanged(self) -> None:
        """Refuse results of a file that has changed since it was read.

        Raises
        ------
        DataError
            If it has.
        """
        if self.error is None and file_state(self.path) != self.state:
            message = f"{self.path} has changed while it was read; run the task again"
            raise DataError(message, path=self.path)


def read_blocks(tasks: Iterator[Any], size: int) -> Iterator[list[ReadMember]]:
    """Read the files of members in turn, and yield so many at a time."""
    from astra.products.spectra import read_spectrum
    from astra.products.spectrum_selection import selected

    def read() -> Iterator[ReadMember]:
        for task in tasks:
            spectrum, error, path, state = None, None, task.path, None
            try:
                path = task.file_path
                state = file_state(path)  # before it is read: a change while reading counts as a change
                found = read_spectrum(task.product, path)
                spectrum = task.adapt(selected(found, task.bad_pixels, task.refused_flags))
            except (AstraError, OSError) as exc:
                error = exc
            yield ReadMember(task, task.recorder, path, state, spectrum, error)

    members = read()
    while block := list(islice(members, size)):
        yield block


def file_state(path: str | Path) -> tuple[int, int] | None:
    """Return size [byte] and time of change [ns] of a file; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def picture_rows(path: Path) -> list[dict[str, Any]]:
    """Return the row of a picture that a task has made, as ``data_product`` has it."""
    from astra.products.checksums import stamp, with_checksum

    found = stamp(str(path))
    return [{"kind": PICTURE, **vars(with_checksum(found))}] if found is not None else []


def usable_ivar(spectrum: Spectrum) -> NDArray[np.float64]:
    """Return the inverse variance, 0 where the reader calls a pixel bad."""
    import numpy as np

    return np.where(spectrum.bad, 0.0, spectrum.ivar)


def title_of(spectrum: Spectrum, row: int = 0) -> str:
    """Return what a picture is of: the file, and which of its spectra."""
    name = spectrum.path.name
    return name if spectrum.n_rows == 1 else f"{name}   {spectrum.kind[row]}, row {row} of {spectrum.n_rows}"


def flags_text(row: Mapping[str, Any], name: str = "flags") -> str:
    """Return the names of the flags of a row, to be added to the text of a picture."""
    from astra.spectra.flags import flag_names

    names = flag_names(row[name] or 0)
    return f"   {', '.join(names)}" if names else ""


def number_text(value: float | None, digits: int = 2) -> str:
    """Return a number of a row, which may be missing, for a picture."""
    return "-" if value is None else f"{value:.{digits}f}"


def rows_of(spectrum: Spectrum, columns: Mapping[str, Any]) -> list[Row]:
    """Return a row per spectrum of a file, from columns of numbers; what is not finite is None."""
    return [
        {"row_index": row, "kind": kind, **{name: plain(values[row]) for name, values in columns.items()}}
        for row, kind in enumerate(spectrum.kind)
    ]


def plain(value: Any) -> Any:
    """Return a Python number or text; None, the database's null, for what is not finite."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _alone(
    analyse: Callable[[Sequence[Spectrum], Any], list[list[Row]]], spectrum: Spectrum, prepared: Any
) -> Any:
    """Return the rows of one file, or its error."""
    try:
        return analyse([spectrum], prepared)[0]
    except (AstraError, ValueError, ArithmeticError) as exc:
        return exc
