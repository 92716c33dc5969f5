"""`python -m mdflash`: the command line."""

from __future__ import annotations

from mdflash.cli.app import main

main()
