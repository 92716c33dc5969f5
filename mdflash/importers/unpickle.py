"""Read a torch checkpoint without running anything in it.

A pickle is a program: it may name any function of any module and call it. This reader builds NumPy arrays,
plain containers and `Inert` records from a short list of class names, and refuses every other name. Nothing
of the listed modules is imported: each name stands for an object of this file, and those only store what
they are given. Neither torch nor mlcg nor torch_geometric is needed.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.core.damage import DAMAGE
from mdflash.core.regular import open_input, read_input
from mdflash.errors import InputError, UnsafePickleError

_STORAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
        "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1",
        "ByteStorage": "u1", "BoolStorage": "?",
    }
)  # fmt: skip
"""torch's storage classes and how their files read as NumPy; bfloat16 is the upper half of a float32."""

_ROOTS: Final = ("mlcg.", "torch_geometric.", "torch.nn.modules.")
_CLASSES: Final = frozenset(
    """
    SumOut GradientsOut EnergyOut
    SchNet StandardSchNet InteractionBlock CFConv MLP
    CosineCutoff IdentityCutoff GaussianBasis ExpNormalBasis ExtendedExpNormalBasis SpacedExpBasis
    Harmonic HarmonicBonds HarmonicAngles HarmonicAnglesRaw HarmonicImpropers ShiftedPeriodicHarmonicImpropers
    GeneralBonds GeneralAngles FourierSeries Dihedral Repulsion CutoffRepulsion ExpRepulsion CutoffExpRepulsion
    Polynomial QuarticAngles QuarticRawAngles RestrictedQuartic
    StaticHarmonicBonds StaticHarmonicAngles StaticHarmonicImpropers StaticGeneralBonds StaticGeneralAngles
    StaticDihedral
    Loss ForceRMSE ForceMSE EnergyMSE RegL1
    AtomicData GlobalStorage DataEdgeAttr DataTensorAttr Inspector Signature Parameter
    SumAggregation MeanAggregation MaxAggregation
    ModuleDict ModuleList Sequential Embedding Linear
    Tanh SiLU ReLU ELU GELU Sigmoid Softplus ShiftedSoftplus Identity
    """.split()
)
"""Classes that become `Inert` records, by bare name: modules moved between versions of mlcg, names did not."""

_RECORDED: Final = frozenset(
    {
        "builtins.type", "builtins.int", "builtins.float", "builtins.str", "builtins.bool",
        "builtins.object", "_operator.getitem", "inspect._empty", "inspect.Parameter",
        "inspect._ParameterKind", "torch.Tensor", "torch.device", "torch.float32", "torch.float64", "torch.int64",
    }
)  # fmt: skip
"""Names that only describe types in what torch_geometric stores; a call to them is written down, not made."""


class Inert:
    """What stands for an object of a foreign class: its name and its state.

    Attributes:
        kind: full name of the class, "mlcg.nn.schnet.SchNet".
        state: what the pickle would have set: attributes by name.
    """

    kind = ""
    state: dict[str, Any]

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        record = super().__new__(cls)
        record.state = {}
        return record

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            for part in state:
                self.__setstate__(part)
        elif isinstance(state, dict):
            self.state.update(state)

    @property
    def name(self) -> str:
        """The bare class name, "SchNet"."""
        return self.kind.rpartition(".")[2]


class SparseTensor:
    """A sparse tensor: `values` [n, ...] at `indices` [dims, n] of an array of `shape`; zero elsewhere."""

    __slots__ = ("indices", "shape", "values")

    def __init__(self, indices: npt.NDArray[Any], values: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
        self.indices, self.values, self.shape = indices, values, shape


class StateDict(dict[Any, Any]):
    """An ordered dict of a checkpoint; attributes that torch hangs on it are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


class _Call:
    """A function that the pickle may call. It has no attributes, so the pickle cannot change it."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("tried to change a function")

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class _Storage(NamedTuple):
    dtype: str


class _NumpyType:
    """A numpy.dtype of plain numbers."""

    __slots__ = ("code",)

    def __init__(self, code: object, *_: object) -> None:
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise pickle.UnpicklingError(f"holds numpy data of type {code!r}")
        self.code = str(code)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            raise pickle.UnpicklingError("holds big-endian numpy data")


def _tensor(storage: npt.NDArray[Any], offset: int, size: Any, stride: Any, *_: object) -> npt.NDArray[Any]:
    """torch._utils._rebuild_tensor_v2."""
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if not isinstance(storage, np.ndarray) or storage.ndim != 1 or len(size) != len(stride):
        raise pickle.UnpicklingError("holds a tensor without a storage")
    if offset < 0 or min((*size, *stride), default=0) < 0:
        raise pickle.UnpicklingError(f"holds a tensor of size {size}, stride {stride}, offset {offset}")
    count = int(np.prod(size, dtype=object)) if size else 1
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if count and last >= len(storage):
        raise pickle.UnpicklingError(f"holds a tensor that reaches element {last} of a storage of {len(storage)}")
    if count > max(len(storage), 1_000_000):
        raise pickle.UnpicklingError(f"holds a tensor of {count} elements in a storage of {len(storage)}")
    strides = tuple(s * storage.itemsize for s in stride)
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
    tensor: npt.NDArray[Any] = np.ascontiguousarray(view).reshape(size)
    return tensor


def _sparse(_: object, data: tuple[Any, ...]) -> SparseTensor:
    """torch._utils._rebuild_sparse_tensor."""
    indices, values, shape = data[0], data[1], tuple(map(int, data[2]))
    bounds = np.array(shape, np.int64).reshape(-1, 1)
    if indices.ndim != 2 or indices.shape[1] != len(values) or len(indices) > len(shape):
        raise pickle.UnpicklingError("holds a sparse tensor whose indices do not fit its values")
    if ((indices < 0) | (indices >= bounds[: len(indices)])).any():
        raise pickle.UnpicklingError("holds a sparse tensor with an index beyond its size")
    return SparseTensor(indices, values, shape)


def _numpy_scalar(kind: _NumpyType, data: bytes) -> Any:
    return np.frombuffer(data, kind.code, count=1)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"asks for the text encoding {encoding!r}")
    return text.encode("latin1")


_CALLS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch._utils._rebuild_sparse_tensor": _sparse,
        "torch.serialization._get_layout": lambda name: str(name),
        "torch.Size": lambda sizes=(): tuple(sizes),
        "numpy.core.multiarray.scalar": _numpy_scalar,
        "numpy._core.multiarray.scalar": _numpy_scalar,
        "_codecs.encode": _encode,
        "builtins.set": lambda items=(): set(items),
        "builtins.frozenset": lambda items=(): frozenset(items),
    }
)
"""Functions that are called, each our own."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, file: Path, storage: Callable[[Any], npt.NDArray[Any]]) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8")
        self._data, self._file, self._storage = data, file, storage
        self._known: dict[str, Any] = {}

    def load(self) -> Any:
        """What the pickle holds.

        Raises:
            pickle.UnpicklingError: an operation that is none, or an object under a number so large that the table of
                objects, which Python makes as long as its largest number, would fill the memory.
        """
        try:
            for operation, number, _ in pickletools.genops(self._data):
                if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(number or 0) > len(self._data):
                    raise pickle.UnpicklingError(f"numbers an object {number:,} in {len(self._data):,} bytes")
        except ValueError as error:
            raise pickle.UnpicklingError(str(error)) from None
        return super().load()

    def persistent_load(self, pid: Any) -> npt.NDArray[Any]:
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of `module.name`; made again for every file, so that none can be tampered with."""
        # torch writes pickles of protocol 2, which call modules by their names in Python 2
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if full not in self._known:
            self._known[full] = self._stand_in(full, module, name)
        return self._known[full]

    def _stand_in(self, full: str, module: str, name: str) -> Any:
        if full in _CALLS:
            return _Call(_CALLS[full])
        if full in ("collections.OrderedDict", "builtins.dict"):
            return type("StateDict", (StateDict,), {})
        if full == "numpy.dtype":
            return type("NumpyType", (_NumpyType,), {"__slots__": ()})
        if module == "torch" and name in _STORAGES:
            return _Storage(_STORAGES[name])
        known = name in _CLASSES and f"{module}.".startswith(_ROOTS)
        if known or full in _RECORDED or (module == "typing" and name.isidentifier()):
            return type(name, (Inert,), {"kind": full})
        if f"{module}.".startswith("mlcg.") and name.isidentifier():
            raise UnsafePickleError(
                f"holds an object of the class '{full}', which mdflash cannot translate; it knows mlcg's "
                "SchNet networks and its harmonic, Fourier, polynomial, restricted-bending and repulsion priors",
                file=self._file,
            )
        raise UnsafePickleError(
            f"asks for '{full}', which is not part of an mlcg model; nothing in the file was run. "
            "It is damaged, made for another program, or malicious: do not open it with torch.load",
            file=self._file,
        )


def _guarded(unpickler: _Unpickler, file: Path) -> Any:
    try:
        return unpickler.load()
    except UnsafePickleError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"is not a PyTorch checkpoint, or it is damaged ({str(error).rstrip('.')})", file=file
        ) from None
    except DAMAGE as error:
        raise InputError(f"is damaged: {type(error).__name__}: {error}", file=file) from None


class _Archive:
    """The zip file that torch.save writes: ROOT/data.pkl and ROOT/data/KEY, stored without compression."""

    def __init__(self, archive: zipfile.ZipFile, file: Path) -> None:
        self.archive, self.file = archive, file
        names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(names) != 1:
            raise InputError("is a zip archive, but not one that torch.save wrote (no data.pkl)", file=file)
        self.root = names[0].removesuffix("data.pkl")
        self.budget = file.stat().st_size  # entries cannot hold more than the file does
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        order = self.root + "byteorder"
        if order in archive.namelist() and self.read(order).strip() != b"little":
            raise InputError("was written on a big-endian machine, which is not supported", file=file)

    def read(self, name: str) -> bytes:
        info = self.archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f"is compressed (entry {name}); torch.save never does, so it is no checkpoint")
        self.budget -= info.file_size
        if self.budget < 0:
            raise pickle.UnpicklingError(f"claims to hold more data than its size allows (entry {name})")
        return self.archive.read(info)

    def storage(self, pid: Any) -> npt.NDArray[Any]:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("refers to something that is not a storage")
        _, kind, key, _, count = pid
        if not isinstance(kind, _Storage) or not isinstance(key, str) or not isinstance(count, int):
            raise pickle.UnpicklingError("refers to a storage of an unknown type")
        if key not in self.arrays:
            data = self.read(f"{self.root}data/{key}")
            size = np.dtype(kind.dtype).itemsize
            if count * size != len(data):
                raise pickle.UnpicklingError(
                    f"claims {count} elements of {size} bytes in storage {key}, which holds {len(data)} bytes"
                )
            array = np.frombuffer(data, kind.dtype)
            if kind.dtype == _STORAGES["BFloat16Storage"]:
                array = (array.astype("<u4") << 16).view("<f4")
            self.arrays[key] = array
        return self.arrays[key]


def _no_storage(pid: Any) -> npt.NDArray[Any]:
    raise pickle.UnpicklingError("is not a torch zip archive, yet refers to storages")


def load_torch(file: Path) -> Any:
    """What a torch checkpoint holds: arrays, `SparseTensor`, plain containers and `Inert` records.

    Raises:
        UnsafePickleError: it names a class or function outside the short list; nothing was run.
        InputError: not there, damaged, another format, or sizes that do not fit the file.
    """
    try:
        with open_input(file) as opened, zipfile.ZipFile(opened) as archive:
            try:
                checkpoint = _Archive(archive, file)
                data = checkpoint.read(checkpoint.root + "data.pkl")
            except pickle.UnpicklingError as error:
                raise InputError(
                    f"is not a PyTorch checkpoint, or it is damaged ({str(error).rstrip('.')})", file=file
                ) from None
            return _guarded(_Unpickler(data, file, checkpoint.storage), file)
    except FileNotFoundError:
        raise InputError("no such file", file=file) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    except zipfile.BadZipFile:
        pass
    except DAMAGE as error:  # names, sizes and flags of its entries
        raise InputError(f"is damaged: {type(error).__name__}: {error}", file=file) from None
    # Not a zip: an old torch file, or a bare pickle. It is walked through only to name what it asks for.
    _guarded(_Unpickler(read_input(file), file, _no_storage), file)
    raise InputError(
        "is not a checkpoint that torch.save writes since version 1.6 (a zip archive); open it with the torch "
        "that made it and save it again",
        file=file,
    )
