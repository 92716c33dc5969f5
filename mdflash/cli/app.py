"""The command line: which verbs there are, and how errors are shown.

Each verb lives in its own module, which imports what is heavy inside the function, so that `--help` is quick.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mdflash import __version__
from mdflash.cli.analyze import analyze
from mdflash.cli.bench import bench
from mdflash.cli.build import build
from mdflash.cli.campaign import app as campaign_app
from mdflash.cli.check import check
from mdflash.cli.compile import compile_
from mdflash.cli.doctor import doctor
from mdflash.cli.domains import domains
from mdflash.cli.energy import energy
from mdflash.cli.export import export
from mdflash.cli.go import go
from mdflash.cli.import_ import app as import_app
from mdflash.cli.info import info
from mdflash.cli.init import init
from mdflash.cli.lines import visible
from mdflash.cli.map import map_
from mdflash.cli.melt import melt
from mdflash.cli.rebuild import rebuild
from mdflash.cli.repair import repair
from mdflash.cli.run import run
from mdflash.cli.sample import sample
from mdflash.cli.schema import schema
from mdflash.cli.train import fit, train
from mdflash.cli.validate import validate
from mdflash.cli.watch import watch
from mdflash.core.files import explain
from mdflash.engine.job import find_job
from mdflash.errors import InputError, MdflashError

app = typer.Typer(
    name="mdflash",
    help="Molecular dynamics of coarse-grained proteins with neural potentials.",
    epilog="Start with: mdflash run chignolin",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(check)
app.command("compile")(compile_)
app.command()(init)
app.command()(info)
app.command()(melt)
app.command()(watch)
app.command()(analyze)
app.command()(energy)
app.command()(go)
app.command()(domains)
app.command("map")(map_)
app.command()(build)
app.command()(rebuild)
app.command()(sample)
app.command()(fit)
app.command()(train)
app.command()(validate)
app.add_typer(import_app, name="import")
app.add_typer(campaign_app, name="campaign")
app.command()(export)
app.command()(repair)
app.command()(bench)
app.command()(doctor)
app.command()(schema)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mdflash {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The `mdflash` command. A `MdflashError` becomes one message on stderr and the error's exit code."""
    warnings.filterwarnings("error", _NUMBA_SAYS, RuntimeWarning)  # of a variable that it cannot read
    try:
        _check_threads()
        _check_names()
        app()
    except MdflashError as error:
        _show(error)
        _end(error.exit_code)
    except RuntimeWarning as warning:
        if not re.match(_NUMBA_SAYS, str(warning)):
            raise
        _show(MdflashError(f"{str(warning).splitlines()[0].rstrip('.')}; unset it, or give a value that numba knows"))
        _end(MdflashError.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        found = _explain(Path(os.fsdecode(error.filename)), error)
        _show(found)
        _end(found.exit_code)
    except SystemExit as end:
        _end(end.code)


def _explain(path: Path, error: OSError) -> MdflashError:
    """A file that cannot be read, or a name that cannot be one, wherever that was found."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError(f"{error.strerror}; change its permissions, or give another path", file=path)
    return explain(path, error)


_NUMBA_SAYS = r"Environment variable '?NUMBA_\w+"


def _check_threads() -> None:
    """Refuse a NUMBA_NUM_THREADS of which numba makes a traceback."""
    text = os.environ.get("NUMBA_NUM_THREADS", "1").strip()
    if not re.fullmatch("[0-9]{1,6}", text) or int(text) < 1:
        raise MdflashError(
            f"the environment variable NUMBA_NUM_THREADS must be a whole number of 1 or more, found {text!r}; "
            "unset it, or write for example NUMBA_NUM_THREADS=4"
        )


def _check_names() -> None:
    """Refuse names of files that are no text: nothing of them could be written down, as in resolved.yaml."""
    names = sys.argv[1:]
    with suppress(OSError):
        names = [os.getcwd(), *names]
    for name in names:
        if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise MdflashError(
                f"'{ascii(name)[1:-1]}' is no text in {sys.getfilesystemencoding().upper()}; rename it, or go to "
                "another folder"
            )


def _show(error: MdflashError) -> None:
    """Print to stderr, where there still is one: a run also ends because its terminal was closed."""
    with suppress(OSError):
        typer.secho(error.label, fg=typer.colors.RED, bold=True, nl=False, err=True)
        typer.echo(visible(str(error)), err=True)


def _among_ranks() -> bool:
    """Whether this process is one of many; variables that say nonsense were refused before it could be."""
    try:
        return find_job(os.environ).size > 1
    except MdflashError:
        return False


def _end(code: str | int | None) -> NoReturn:
    """Exit. One of many ranks leaves without taking Python down, which now and then aborts in torch's threads."""
    if isinstance(code, str) or not _among_ranks():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)
