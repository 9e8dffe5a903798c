"""The command line: the Typer app and its verbs."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from . import __version__

VERBS = {  # the module of commands/ that has the verb, and what help says of it
    "caption": ("caption", "Say in a sentence what is heard in sound files and videos."),
    "train": ("training", "Train a captioner on Clotho, on captions, or on labelled sounds."),
    "pretrain": ("pretraining", "Train CNN10 as a tagger on labelled sounds, for aac train --init."),
    "evaluate": ("evaluate", "Score captions as papers do: BLEU, METEOR, CIDEr-D, SPICE, SPIDEr."),
    "download": ("download", "Fetch weights and data once, checked; all else then works offline."),
}

# \b: Click keeps the lines that follow as they are.
HELP = """Turn sound into sentences.

\b
  aac caption clip.wav
  aac caption recordings/ --out captions.csv
  aac train --clotho ./data
  aac evaluate --predictions mine.csv --references references.csv
  aac download --list
"""


class Verbs(TyperGroup):
    """Only the verb that is called is imported and built: all five would double the time of `aac --help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # By hand what is asked most, for Typer imports rich for no_args_is_help and pydantic to read options.
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx))
            ctx.exit(2)
        if "--version" in args and set(args) <= {"--version", "--verbose", "-v"}:
            tell_version(len(args) > 1)
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return name, build(name) if name in VERBS else command, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        # Click's plain text: rich takes longer to import than all else that this help needs.
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)


def build(verb: str) -> Any:
    """The command of a verb."""
    module = import_module(f".commands.{VERBS[verb][0]}", __package__)
    alone = typer.Typer(rich_markup_mode="markdown", add_completion=False)
    alone.command(verb)(getattr(module, verb))
    return get_command(alone)


app = typer.Typer(
    name="aac",
    cls=Verbs,
    help=HELP,
    epilog="All of a command, with examples: aac COMMAND --help",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of ``aac`` and ``python -m aaccli``."""
    try:
        app()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except OSError as problem:
        code = _refused(problem)
    _leave(code)


def _refused(problem: OSError) -> int:
    """Tell of a stdout that takes no more, and the exit code; files that take no more have errors of their own."""
    if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        raise problem
    from .console import FAILED, error

    error(f"stdout: cannot be written ({problem.strerror})")
    return FAILED


def _leave(code: int) -> NoReturn:
    """End the process, at once where torch was imported: taking it apart takes half a second and 120 MB more."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError as problem:
        if code == 0 and not isinstance(problem, BrokenPipeError):  # else it was told, or nobody reads any more
            code = _refused(problem)
        # What is left in the buffer goes nowhere, or Python would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if "torch" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):  # whoever read it is gone
            stream.flush()
    os._exit(code)


@app.callback(invoke_without_command=True)
def _aac(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version; with -v all that an issue needs.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", hidden=True)] = False,
) -> None:
    """Options of `aac` itself."""
    if version:
        tell_version(verbose)
        raise typer.Exit
    if verbose:
        raise typer.BadParameter("--verbose goes with --version, or after a command: aac caption -v clip.wav")


def tell_version(verbose: bool) -> None:
    """Print the version, or all that an issue needs."""
    if not verbose:
        typer.echo(f"aac {__version__}")
        return
    from .environment import describe

    told = describe()
    for name, value in told.items():
        typer.echo(f"{name:{max(map(len, told))}}  {value}")


def _stand_in() -> None:
    """What is listed for a verb; `Verbs` calls the verb itself."""


for _name, (_, _summary) in VERBS.items():
    app.command(_name, short_help=_summary)(_stand_in)
