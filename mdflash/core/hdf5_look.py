"""Looking at an HDF5 file that somebody else may have made or damaged; also a program, see `hdf5_check`.

It knows nothing but the library, so that a process that does nothing else starts quickly.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

DRIVER = "mdflash"
_TRIES = 24
"""How often the library reads a block whose checksum does not fit, as that of one that is being written may. It waits
1 ns, 2 ns, 4 ns and so on in between: 24 times are 17 ms, and the 100 times of SWMR's readers are for ever."""
_OBJECTS = 10_000
_PACKED = 1100
"""Times that gzip makes a file smaller, at most."""
_CHUNK = 1 << 30


def register_driver() -> None:
    """Let `h5py.File(..., driver=DRIVER)` give up blocks that stay damaged."""
    import h5py

    if DRIVER in h5py.registered_drivers():
        return
    library: Any = ctypes.CDLL(h5py.h5p.__file__)  # what h5py is linked to; it does not offer this function
    try:
        limit = library.H5Pset_metadata_read_attempts
    except AttributeError:
        limit = None
    else:
        limit.argtypes = (ctypes.c_int64, ctypes.c_uint)

    def prepare(plist: Any, **options: Any) -> None:
        plist.set_fapl_sec2(**options)
        if limit is not None:
            limit(plist.id, _TRIES)

    h5py.register_driver(DRIVER, prepare)


def open_to_look(path: str) -> h5py.File:
    """The file as readers of mdflash open it, for reading.

    Raises:
        OSError: the library cannot read it.
    """
    import h5py

    register_driver()
    try:
        return h5py.File(path, "r", swmr=True, locking=False, driver=DRIVER)
    except OSError:
        return h5py.File(path, "r", locking=False, driver=DRIVER)


def fault(path: str) -> str | None:
    """What is wrong with a file, as a phrase that follows its name; None if it can be read.

    Every object is looked at, and of every dataset the ends of the first, a middle and the last row.
    """
    try:
        size = os.stat(path).st_size
        with open_to_look(path) as file:
            return _fault_of(file, size)
    except Exception as error:  # whatever a damaged file makes of the library
        return f"cannot be read as HDF5: {' '.join(str(error).split()) or type(error).__name__}"


def _fault_of(file: h5py.File, size: int) -> str | None:
    import h5py

    seen: set[int] = set()
    todo: list[Any] = [file["/"]]
    while todo:
        here = todo.pop()
        if (place := h5py.h5o.get_info(here.id).addr) in seen:
            continue
        seen.add(place)
        if len(seen) > _OBJECTS:
            return f"holds more than {_OBJECTS:,} objects, which no file of molecules does"
        for name in here.attrs:
            here.attrs[name]
        if isinstance(here, h5py.Dataset):
            wrong = _fault_of_dataset(here, size)
            if wrong is not None:
                return f"dataset {here.name} {wrong}"
        elif isinstance(here, h5py.Group):
            for name in here:
                link = here.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    kind = {"SoftLink": "a soft link", "ExternalLink": "a link to another file"}
                    what = kind.get(type(link).__name__, "an unknown link")
                    return f"holds {what} ({here.name.rstrip('/')}/{name}), which mdflash does not follow"
                todo.append(here[name])
    return None


def _fault_of_dataset(data: h5py.Dataset, size: int) -> str | None:
    if data.shape is None:
        return None
    if data.is_virtual or data.external:
        return "is stored in other files, which mdflash does not follow"
    row = math.prod(data.shape[1:]) * data.dtype.itemsize
    if math.prod(data.shape) * data.dtype.itemsize > max(_PACKED * size, 1 << 20) or row > _CHUNK:
        return f"states the shape {list(data.shape)}, more than a file of {size:,} bytes can hold"
    if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > _CHUNK:
        return f"has chunks of {list(data.chunks)}, which are too large"
    if data.shape and data.size:
        for at in sorted({0, data.shape[0] // 2, data.shape[0] - 1}):
            data[tuple([at] + [0 for _ in data.shape[1:]])]
            data[tuple([at] + [n - 1 for n in data.shape[1:]])]
    elif not data.shape:
        data[()]
    return None


def _serve(seconds: int) -> None:
    """Answer for every path on standard input what is wrong with it, each in so many seconds, or die."""
    import h5py  # noqa: F401 (before the first answer is waited for)

    print("ready", flush=True)
    for line in sys.stdin:
        signal.alarm(seconds)  # the system ends this process, wherever the library is
        answer = fault(json.loads(line))
        signal.alarm(0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[2]))
