"""Pictures of live pages: named at once, made when a browser asks for them, kept within limits."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astra.web.pictures import NAME, VERSION, PictureStore

MAX_BYTES = 64 << 20
MAX_WAITING = 4096  # pictures that a page has named and no browser has asked for

Make = Callable[[], bytes]


class LivePictures(PictureStore):
    """Pictures in memory under the hash of what they are made of.

    A page names a picture before it is made, so that it is there at once; what makes it is kept until the
    picture is asked for. The oldest are let go: the page names them again.

    Parameters
    ----------
    max_bytes : int, optional
        Of all pictures together [byte].
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(Path())
        self._most = max_bytes
        self._lock = threading.Lock()
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._waiting: OrderedDict[str, Make] = OrderedDict()

    def get(self, key: tuple[Any, ...], make: Make) -> str | None:
        """Return the name of a picture; it is made later."""
        text = json.dumps([VERSION, *key], default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:32] + ".png"
        with self._lock:
            if name not in self._made:
                self._waiting[name] = make
                self._waiting.move_to_end(name)
                while len(self._waiting) > MAX_WAITING:
                    self._waiting.popitem(last=False)
        return name

    def path(self, name: str) -> Path | None:
        """Return None: these pictures are no files."""
        return None

    def content(self, name: str) -> bytes | None:
        """Return a picture, making it if need be; None if no page has named it of late."""
        if NAME.fullmatch(name) is None:
            return None
        with self._lock:
            found = self._made.get(name)
            make = self._waiting.get(name)
            if found is not None:
                self._made.move_to_end(name)
        if found is not None or make is None:
            return found
        picture = make()
        with self._lock:
            self._made[name] = picture
            self._waiting.pop(name, None)
            self.size = sum(map(len, self._made.values()))
            while self.size > self._most and len(self._made) > 1:
                self.size -= len(self._made.popitem(last=False)[1])
        return picture
