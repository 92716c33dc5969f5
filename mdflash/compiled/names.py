"""Names in machine code that are the same in every process.

numba numbers functions in the order in which a process meets them. Code on the disk that two processes made could then
have one name for two functions, or two names for one. Here the number is a digest of what a function was made from.
"""

from __future__ import annotations

import hashlib

from numba.core.compiler import Compiler

from mdflash.compiled.cache import source_digest


class NamedByContent(Compiler):  # type: ignore[misc]
    """numba's compiler; functions that differ in source or in what they close over have different names."""

    def _compile_bytecode(self) -> object:
        identity = self.state.func_id
        closed_over = [cell.cell_contents for cell in identity.func.__closure__ or ()]
        source = source_digest(identity.filename)
        made_from = repr((source, identity.modname, identity.func_qualname, identity.firstlineno, closed_over))
        identity.unique_id = int(hashlib.sha256(made_from.encode()).hexdigest()[:15], 16)
        identity.unique_name = f"{identity.func_qualname}${identity.unique_id}"
        return super()._compile_bytecode()
