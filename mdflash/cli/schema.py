"""`mdflash schema`: the JSON schema of system.yaml, for editors."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON schema of system.yaml, for editors that complete and check YAML."""
    from mdflash.config.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
