"""How kernels are compiled.

A kernel that Python calls is `compiled`, and kept on disk. What it calls in turn is a `part`: no code to call
it from Python is made, and none of its own is kept on disk, for the kernel that calls it has it. Neither can
be called from C. That takes a good part off what the first run on a machine compiles. To Python a part is a
plain function.

What takes long to compile, and is better a loop over elements: to assign an array to a slice or a row (numba
compiles all that writes the message of its error, two seconds once and more in each kernel), array
expressions, reductions such as ``values.max()``, `numpy.arange`, lists, and one function for arrays of
several types or layouts. What a kernel with ``fastmath`` or an ``error_model`` of its own calls is compiled
for it alone: such options belong to the small part that needs them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, overload

from numba import njit
from numba.core.compiler import Compiler
from numba.core.targetconfig import ConfigStack
from numba.extending import register_jitable

Function = Callable[..., Any]


class _KernelCompiler(Compiler):
    """Compiles a kernel, and what it calls as if a part called that.

    numba compiles a function anew for callers of other options, such as to have a wrapper for Python.
    """

    def compile_extra(self, func: Function) -> Any:
        """Compile, and look for no garbage meanwhile: among all that numba makes there is next to none."""
        enabled = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(func)  # type: ignore[no-untyped-call]
        finally:
            if enabled:
                gc.enable()

    def define_pipelines(self) -> list[Any]:
        """Define the ordinary passes; the options that callees look at are a copy of the kernel's own."""
        options = ConfigStack().top()  # type: ignore[no-untyped-call]
        options.no_cpython_wrapper, options.release_gil = True, False  # of the wrapper, too
        pipelines: list[Any] = super().define_pipelines()  # type: ignore[no-untyped-call]
        return pipelines


@overload
def compiled(function: Function) -> Function: ...
@overload
def compiled(**options: Any) -> Callable[[Function], Function]: ...
def compiled(function: Function | None = None, **options: Any) -> Any:
    """Compile a function that Python calls, when it first does, and keep that on disk.

    Parameters
    ----------
    function : callable, optional
        What to compile.
    **options
        Of `numba.njit`, such as ``fastmath``.

    Returns
    -------
    kernel : callable
        Compiled for each combination of types, or a decorator if only options are given.
    """
    decorate: Callable[[Function], Function] = njit(  # type: ignore[call-overload]
        cache=True, no_cfunc_wrapper=True, pipeline_class=_KernelCompiler, **options
    )
    return decorate if function is None else decorate(function)


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
