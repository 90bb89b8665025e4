"""The repository and database handle that all tasks of a run share, and the parameter that takes it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import luigi

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Store:
    """The repository and the database that all tasks of a run share.

    Parameters
    ----------
    root : Path
        Folder of products.
    database_url : str
        URL of the database.
    """

    root: Path
    database_url: str

    def reading(self) -> AbstractContextManager[Connection]:
        """Open a transaction for reading, in whatever process this is."""
        from astra.database.engine import reading

        return reading(self.database_url)

    def transaction(self) -> AbstractContextManager[Connection]:
        """Open a transaction for writing, in whatever process this is."""
        from astra.database.engine import transaction

        return transaction(self.database_url)


class StoreParameter(luigi.Parameter):
    """The parameter by which a Luigi task takes the store of `StoreInitializedTaskRunner`; not in its id."""

    def __init__(self, **kwargs: Any) -> None:
        hidden = luigi.parameter.ParameterVisibility.PRIVATE
        super().__init__(**{"default": None, "significant": False, "visibility": hidden, **kwargs})

    def serialize(self, value: Any) -> str:
        """Return the folder of the store."""
        return "" if value is None else str(value.root)

    def _warn_on_wrong_param_type(self, param_name: str, param_value: Any) -> None:
        """Accept any store."""
