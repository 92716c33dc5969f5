"""The command `mdflash`, also as `python -m mdflash`.

Signals are caught before anything that takes long is imported, so a start that is stopped ends in one sentence.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from mdflash.core.signals import Stopped, stoppable


def main() -> None:
    """Run the verb of the command line, and exit."""
    try:
        with stoppable():
            _settle_home()
            from mdflash.cli.app import main as run_verb

            run_verb()
    except Stopped as stopped:
        with suppress(OSError):
            print(stopped.said, file=sys.stderr)
        sys.exit(stopped.said.exit_code)


def _settle_home() -> None:
    """A user whom the system gives no home, as in many containers, keeps no caches."""
    try:
        Path.home()
    except RuntimeError:
        os.environ.setdefault("XDG_CACHE_HOME", os.devnull)


if __name__ == "__main__":
    main()
