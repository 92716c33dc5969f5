"""Strategies for binary files that keep the frame sound, so that what is damaged is read: zip, safetensors, HDF5."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.garbage.mutations import change, changed_bytes, values

KINDS = ("f4", "f8", "f2", "i4", "i8", "u1", "u8", "?", ">f8", "U3", "S2", "c16")


def zip_file(content: bytes) -> SearchStrategy[bytes]:
    """One entry changed inside an archive whose sums are right again, or the bytes of the archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}

    @st.composite
    def rewritten(draw: DrawFn) -> bytes:
        name = draw(
            st.sampled_from(sorted(entries, key=lambda n: not n.endswith("data.pkl"))[:1] * 4 + sorted(entries))
        )
        new = dict(entries) | {name: draw(changed_bytes(entries[name]))}
        if draw(st.integers(0, 9)) == 0:
            new[draw(st.sampled_from(("x", "../x", f"{name}s")))] = new.pop(name)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for key, data in new.items():
                archive.writestr(zipfile.ZipInfo(key), data)
        return buffer.getvalue()

    return st.one_of(rewritten(), rewritten(), changed_bytes(content))


def _odd_array(draw: DrawFn, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of another kind, shape or content."""
    how = draw(st.sampled_from(("kind", "shape", "transpose", "nan", "huge", "negative", "empty", "noise")))
    try:
        if how == "kind":
            return like.astype(draw(st.sampled_from(KINDS)))
        if how == "shape":
            return like.reshape(draw(st.sampled_from(((-1,), (1, -1), (-1, 1), (1, 1, -1)))))
        if how == "transpose":
            return np.ascontiguousarray(like.T)
        if how == "empty":
            return like[:0] if like.ndim else np.zeros(0)
        found = like.astype(np.float64) if how == "nan" else like.copy()
        flat = found.reshape(-1)
        if len(flat):
            k = draw(st.integers(0, len(flat) - 1))
            flat[k] = {"nan": np.nan, "huge": 1e30, "negative": -1, "noise": draw(st.integers(0, 99))}[how]
        return found
    except (TypeError, ValueError, OverflowError):
        return np.zeros(draw(st.integers(0, 3)))


def npz_file(content: bytes) -> SearchStrategy[bytes]:
    """Arrays dropped, renamed or replaced, and the JSON in `header` changed; or entries or bytes."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = {name: archive[name] for name in archive.files}

    @st.composite
    def rewritten(draw: DrawFn) -> bytes:
        new = dict(arrays)
        for _ in range(draw(st.sampled_from((1, 1, 2)))):
            name = draw(st.sampled_from(sorted(new))) if new else "header"
            how = draw(st.sampled_from(("drop", "rename", "array", "array", "header", "header")))
            if how == "header" and "header" in new and new["header"].dtype.kind == "U":
                header = change(draw, json.loads(str(arrays["header"])))
                if draw(st.booleans()) and isinstance(header, dict):
                    header.pop("sha256", None)
                new["header"] = np.array(json.dumps(header))
            elif how == "drop":
                new.pop(name, None)
            elif how == "rename" and name in new:
                new[f"{name}x"] = new.pop(name)
            elif name in new:
                new[name] = _odd_array(draw, new[name])
        text = str(new.get("header", ""))
        if draw(st.booleans()) and text.startswith("{") and text.endswith("}"):  # else the digest finds all of it
            header = json.loads(text)
            header.pop("sha256", None)
            new["header"] = np.array(json.dumps(header))
        buffer = io.BytesIO()
        np.savez(buffer, **new)
        return buffer.getvalue()

    return st.one_of(rewritten(), rewritten(), zip_file(content))


def safetensors_file(content: bytes) -> SearchStrategy[bytes]:
    """The JSON in front changed, that inside its metadata, arrays replaced; or bytes."""
    from safetensors.numpy import load, save

    size = struct.unpack("<Q", content[:8])[0]
    head, data = content[8 : 8 + size], content[8 + size :]
    tensors = load(content)

    @st.composite
    def rewritten(draw: DrawFn) -> bytes:
        header = json.loads(head)
        how = draw(st.sampled_from(("header", "inside", "inside", "array", "array", "drop")))
        metadata = header.get("__metadata__")
        if how in ("array", "drop") and tensors:
            new = {name: np.array(array) for name, array in tensors.items()}
            name = draw(st.sampled_from(sorted(new)))
            old = new.pop(name)
            if how == "array":
                new[name] = _odd_array(draw, old)
            try:
                return bytes(save(new, metadata=metadata))
            except Exception:  # a kind of array that the format does not have
                return content[:-1]
        inner = next((key for key in metadata or () if metadata[key].startswith("{")), None)
        if how == "inside" and inner is not None:
            metadata[inner] = json.dumps(change(draw, json.loads(metadata[inner])))
        else:
            header = change(draw, header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    return st.one_of(rewritten(), rewritten(), changed_bytes(content))


def hdf5_file(content: bytes) -> SearchStrategy[bytes]:
    """Datasets, attributes and links changed inside a sound file; or its bytes."""

    @st.composite
    def rewritten(draw: DrawFn) -> bytes:
        buffer = io.BytesIO(content)
        with h5py.File(buffer, "r+") as f:
            names: list[str] = []
            f.visit(names.append)
            owners = ["/", *names]
            how = draw(
                st.sampled_from(("drop", "array", "array", "array", "link", "group", "empty", "attribute", "attribute"))
            )
            name = draw(st.sampled_from(names))
            if how == "attribute":
                target = f[draw(st.sampled_from(owners))]
                known = list(target.attrs) or ["seed"]
                key = draw(st.sampled_from(known))
                value = draw(st.one_of(values, st.just([1, 2]), st.just("[/]")))
                try:
                    target.attrs[key] = h5py.Empty("f8") if value is None else value
                except (TypeError, ValueError, OverflowError):
                    target.attrs.pop(key, None)
            else:
                old = f[name][()] if isinstance(f[name], h5py.Dataset) else np.zeros(3)
                del f[name]
                if how == "array":
                    array = _odd_array(draw, np.asarray(old))
                    f[name] = array.astype("S") if array.dtype.kind == "U" else array
                elif how == "link":
                    f[name] = h5py.SoftLink("/nothing")
                elif how == "group":
                    f.create_group(name)
                elif how == "empty":
                    f[name] = h5py.Empty("f8")
        return buffer.getvalue()

    return st.one_of(rewritten(), rewritten(), changed_bytes(content))
