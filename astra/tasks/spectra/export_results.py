"""Results of the analysis of spectra as files."""

from __future__ import annotations

from typing import Any

import luigi

from astra.tasks.base import AstraTask


class ExportResults(AstraTask):
    """Write the rows of a table of results as FITS and as ECSV, with units, descriptions and flags."""

    table = luigi.Parameter(
        batch_method=tuple,
        description="continuum_fit, barycentric_correction, radial_velocity, combined_visit, line_strength, "
        "stellar_label, spectral_classification or signal_to_noise.",
    )

    def output(self) -> Any:
        """Return both files."""
        if self.is_batch_mode:
            return [task.output() for task in self.get_batch_tasks()]
        return {
            ending: luigi.LocalTarget(str(self.output_base_dir / f"{self.table}.{ending}"))
            for ending in ("fits", "ecsv")
        }

    @property
    def must_rerun(self) -> bool:
        """Always: rows may have come since."""
        return True

    def run(self) -> None:
        """Write each table."""
        from astra.database.engine import reading
        from astra.database.spectra import read_spectrum_rows
        from astra.products.result_tables import write_results
        from astra.spectra.flags import SpectrumFlag

        flags = {str(flag.name): int(flag) for flag in SpectrumFlag}
        for task in self.pending_tasks():
            with task.recording():
                with reading(task.database_url) as connection:
                    rows, columns = read_spectrum_rows(connection, task.table)
                for target in task.output().values():
                    write_results(target.path, rows, columns, name=task.table, flags=flags)
