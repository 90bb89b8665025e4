"""Kernels that only other kernels call.

A kernel that Python calls is a function of numba's, ``@njit(cache=True)``. What it calls in turn is a `part`:
no code to call it from Python is made, and none of its own is kept on disk, for the kernel that calls it has
it. That takes a good part off what the first run on a machine compiles. To Python a part is a plain function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from numba.extending import register_jitable

Function = Callable[..., Any]


@overload
def part(function: Function) -> Function: ...
@overload
def part(**options: Any) -> Callable[[Function], Function]: ...
def part(function: Function | None = None, **options: Any) -> Any:
    """Let kernels call a function.

    Parameters
    ----------
    function : callable, optional
        What to compile into the kernels that call it.
    **options
        Of `numba.njit`, such as ``fastmath``.

    Returns
    -------
    function : callable
        The same one, or a decorator if only options are given.
    """
    decorate: Callable[[Function], Function] = register_jitable(no_cfunc_wrapper=True, **options)
    return decorate if function is None else decorate(function)
