"""A folder of pictures, each under the hash of what it is made of: made once, and never stale."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = re.compile(r"[0-9a-f]{32}\.png", re.ASCII)
VERSION = 1  # of how pictures are drawn: another one makes them again


@dataclass
class PictureStore:
    """Pictures in a folder.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    older : Path, optional
        A folder with such pictures, from which they are taken in place of being made.
    max_bytes : int, optional
        After so many bytes no more are made; see `left_out`.
    """

    folder: Path
    older: Path | None = None
    max_bytes: int | None = None
    left_out: int = 0
    size: int = 0
    _known: set[str] = field(default_factory=set)

    def get(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> str | None:
        """Return the name of a picture, making it if need be.

        Parameters
        ----------
        key : tuple
            All that it depends on: the checksums of files, and how it is drawn; numbers and texts.
        make : callable
            Returns the PNG.

        Returns
        -------
        name : str or None
            ``<hash>.png``; None where the folder is full.
        """
        text = json.dumps([VERSION, *key], default=str)
        name = hashlib.sha256(text.encode()).hexdigest()[:32] + ".png"
        path = self.folder / name
        if name not in self._known:
            if self.max_bytes is not None and self.size >= self.max_bytes:
                self.left_out += 1
                return None
            self._bring(path, make)
            self.size += path.stat().st_size
            self._known.add(name)
        return name

    def _bring(self, path: Path, make: Callable[[], bytes]) -> None:
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.older is not None and (self.older / path.name).is_file():
            shutil.copyfile(self.older / path.name, path)
        else:
            temporary = path.with_name(f".{path.name}~{os.getpid()}~{secrets.token_hex(4)}")
            try:
                temporary.write_bytes(make())
                temporary.replace(path)  # not flushed to the disk: it can be made again
            finally:
                temporary.unlink(missing_ok=True)

    def path(self, name: str) -> Path | None:
        """Path of a picture by its name; None if the name is none of ours or there is no such picture."""
        if NAME.fullmatch(name) is None or not (self.folder / name).is_file():
            return None
        return self.folder / name
