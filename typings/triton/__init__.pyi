"""What mdflash uses of Triton, which has no types of its own."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

from . import language as language

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

__version__: str

class JITFunction(Generic[P, R]):
    """A function on the device: called by others there, launched from the host as `function[grid](...)`."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def __getitem__(self, grid: Sequence[int]) -> Callable[..., None]: ...

@overload
def jit(fn: Callable[P, R]) -> JITFunction[P, R]: ...
@overload
def jit(*, do_not_specialize: Sequence[str]) -> Callable[[Callable[P, R]], JITFunction[P, R]]: ...
def cdiv(x: int, y: int) -> int: ...
def next_power_of_2(n: int) -> int: ...
def __getattr__(name: str) -> Any: ...
