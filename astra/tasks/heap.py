"""Memory of large arrays, kept in the process for the next ones."""

from __future__ import annotations

import ctypes
from functools import cache

# Parameters of mallopt(3) in the GNU C library.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
KEPT_BYTES = (1 << 31) - 1  # free memory that is not given back: the most that the library takes


@cache
def keep_freed_memory() -> bool:
    """Have the C library hand memory that large arrays have freed to the next ones.

    It would else give every image back to the kernel at once, and take fresh pages for the next, each of
    which must be mapped and cleared: as much work as many a pass over the pixels. Only once in a process.

    Returns
    -------
    kept : bool
        False where the C library is another one, which is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
