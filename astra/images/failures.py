"""Steps that found no solution: noted with their reason, so that the rest can go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from astra.errors import AlgorithmError, AstraError

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A step without a solution.

    Parameters
    ----------
    step : str
        What could not be made: ``psf``, ``wcs`` or ``photoCalib``.
    error : AlgorithmError
        Why.
    """

    step: str
    error: AlgorithmError


class Attempts:
    """Runs steps and keeps those that fail."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def attempt(self, step: str, function: Callable[[], T]) -> T | None:
        """Return what a function makes; None, and a note of the reason, if it finds no solution."""
        try:
            return function()
        except AlgorithmError as error:
            self.failures.append(Failure(step, error))
            return None


def raise_first(failures: Sequence[Failure]) -> None:
    """Raise the first failure, its sentence completed by all that is missing; nothing if there is none.

    Raises
    ------
    AlgorithmError
        Of the kind of the first failure, which is most likely the cause of the others.
    """
    if not failures:
        return
    first = failures[0].error
    missing = ", ".join(failure.step for failure in failures)
    message = f"{first}; the rest is written, without its {missing}"
    error: AstraError = type(first)(message, **{**first.context, "missing": missing})
    raise error from first
