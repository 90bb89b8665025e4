"""Files of the database, by the key of their row, sent piece by piece."""

from __future__ import annotations

import re
from pathlib import Path

from astra.database.pages.task import get_product
from astra.errors import MissingDataError
from astra.web.handlers import GuardedPage

PIECE_BYTES = 262_144
MAX_KEY = 2**63 - 1


class ProductHandler(GuardedPage):
    """A product as a download; a picture is shown."""

    async def get(self, product: str) -> None:
        """Send the file."""
        path = await self.answer(lambda: self._find(int(product)))
        if path is None:
            return
        is_picture = path.suffix.lower() == ".png"
        self.set_header("Content-Type", "image/png" if is_picture else "application/octet-stream")
        self.set_header("Content-Length", str(path.stat().st_size))
        if not is_picture:
            name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name)
            self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        with path.open("rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                self.write(piece)
                await self.flush()

    def _find(self, key: int) -> Path:
        row = None
        if key <= MAX_KEY:
            with self.site.database.reading() as connection:
                row = get_product(connection, key)
        if row is None:
            message = f"there is no file of number {key}"
            raise MissingDataError(message)
        return self.site.open_path(row["path"])
