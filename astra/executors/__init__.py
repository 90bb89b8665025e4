"""Where tasks run other than in the worker's own processes: Slurm, Dask, and what plug-ins add.

An executor starts commands and says what became of them. It knows neither Luigi nor the database: which tasks
a command runs, and what is to be done about one that is lost, is decided in `astra.tasks`.
"""
