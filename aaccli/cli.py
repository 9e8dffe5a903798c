"""The command line: the Typer app and its verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from . import __version__
from .commands.caption import caption
from .commands.download import download
from .commands.evaluate import evaluate
from .commands.pretraining import pretrain
from .commands.training import train

app = typer.Typer(
    name="aac",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of ``aac`` and ``python -m aaccli``."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aac {__version__}")
        raise typer.Exit


@app.callback()
def _aac(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn sound into sentences.

    ```
    aac caption clip.wav
    aac caption recordings/ --out captions.csv
    aac train --clotho ./data
    aac evaluate --predictions mine.csv --references references.csv
    aac download --list
    ```
    """


for verb in (caption, train, pretrain, evaluate, download):
    app.command()(verb)
