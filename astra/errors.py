"""Errors that astra raises on purpose.

AstraError
├── ConfigError            luigi.cfg or a parameter is wrong          -> fix the configuration
│   └── TaskError          configuration, versions or schemas differ from those stored -> the flag it names
├── DataError              an input cannot be used                    -> fix or exclude the file; no retry
│   ├── MissingDataError   the file or row is not there
│   ├── FormatError        header key, extension, column or unit is wrong
│   └── NoOverlapError     template and science image share no pixel
├── AlgorithmError         readable data, but no solution; repeatable -> look at .context; no retry
│   ├── TooFewSourcesError
│   ├── TooManyCosmicRaysError
│   ├── TooManyObjectsError
│   ├── KernelFitError
│   ├── BadSubtractionError
│   └── NotConvergedError
├── AlertError             a packet does not satisfy its schema
├── SendError              alerts have not arrived; they are kept      -> mend what it names, and run again
├── ConflictingDefinitionError   a visit is defined already, otherwise -> update_records, or fix the input
├── JobError               a job failed, or was lost too often       -> its log, which the message names
├── BatchError             members of a batch failed, the others are done -> their own rows say why
└── StateError             the database
    ├── SchemaVersionError database and code disagree                 -> astra db upgrade
    └── UnavailableError   could not connect                          -> retry
        └── BusyError      a cluster has no room for further jobs     -> waits, and retries by itself
            └── CrowdedError   it may have room for fewer             -> tries fewer by itself
"""

from __future__ import annotations

from typing import Any


class AstraError(Exception):
    """Base of all errors that astra raises on purpose.

    Parameters
    ----------
    message : str
        One sentence: which thing, what must hold, what was found, unit, remedy.
    **context
        The numbers and names of the sentence, kept for the state row.
    """

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.context: dict[str, Any] = context

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the context, so that errors cross process borders whole."""
        return (_rebuild, (type(self), str(self), self.context))


def _rebuild(cls: type[AstraError], message: str, context: dict[str, Any]) -> AstraError:
    """Make the error again on the other side of a process border."""
    return cls(message, **context)


class ConfigError(AstraError):
    """The configuration or a parameter is wrong."""


class TaskError(ConfigError):
    """Configuration, versions or schemas differ from those stored."""


class DataError(AstraError):
    """An input cannot be used."""


class MissingDataError(DataError):
    """A file or a row is not there."""


class FormatError(DataError):
    """A header key, an extension, a column or a unit is wrong."""


class NoOverlapError(DataError):
    """Template and science image share no usable pixel."""


class AlgorithmError(AstraError):
    """The data can be read, but there is no solution."""


class TooFewSourcesError(AlgorithmError):
    """Fewer usable sources than a fit needs."""


class TooManyCosmicRaysError(AlgorithmError):
    """More pixels look like cosmic rays than an image can have."""


class TooManyObjectsError(AlgorithmError):
    """A difference image has more new objects than are believed."""


class KernelFitError(AlgorithmError):
    """The PSF-matching kernel cannot be solved."""


class BadSubtractionError(AlgorithmError):
    """A difference image keeps too much of the sources that it should have lost."""


class NotConvergedError(AlgorithmError):
    """An iteration ended without meeting its tolerance."""


class AlertError(AstraError):
    """An alert packet does not satisfy its schema."""


class SendError(AstraError):
    """Alerts have not arrived where they were sent; they are kept."""


class ConflictingDefinitionError(AstraError):
    """A visit is defined already, with other contents."""


class JobError(AstraError):
    """A job that ran a task elsewhere failed, or was lost too often."""


class BatchError(AstraError):
    """Some members of a batch failed; the others are done."""


class StateError(AstraError):
    """The database."""


class SchemaVersionError(StateError):
    """The database and the code are at different revisions."""


class UnavailableError(StateError):
    """The database could not be reached."""


class BusyError(UnavailableError):
    """A cluster has no room for jobs, and has taken none."""


class CrowdedError(BusyError):
    """A cluster has no room for as many jobs, but may have some for fewer."""
