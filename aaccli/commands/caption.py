"""``aac caption``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from .options import Device, Quiet, Threads, override, pick_device
from .progress import model_folder

if TYPE_CHECKING:
    from ..captioning import Caption


def caption(
    inputs: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Sound files and folders of them.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="Write file, caption, score to this csv.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out if it is there.")] = False,
    model: Annotated[
        str | None,
        typer.Option(help="Folder of a model, or OWNER/NAME[@REVISION] on the Hub; else the one that comes with aac."),
    ] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, help="1 is greedy.", rich_help_panel="Decoding")] = None,
    min_words: Annotated[int | None, typer.Option(min=1, rich_help_panel="Decoding")] = None,
    max_words: Annotated[int | None, typer.Option(min=1, rich_help_panel="Decoding")] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(help="Rank by log-probability / length ** this; 0: by the sum.", rich_help_panel="Decoding"),
    ] = None,
    no_repeat_ngram: Annotated[
        int | None,
        typer.Option(min=0, help="Forbid a run of as many words to come twice; 0: allow.", rich_help_panel="Decoding"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Files heard at once.", rich_help_panel="Machine")] = 4,
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Say in a sentence what is heard in each sound file.

    ```
    aac caption clip.wav
    aac caption recordings/ --out captions.csv
    aac caption a.flac b.mp3 --model runs/clotho/best
    ```

    One file prints its bare caption, several print path, tab, caption. The first 30 seconds of a file are heard.
    What a model's folder says of decoding holds unless an option says otherwise.
    """
    with console.errors_to_exit_codes():
        from ..captioning import Captioner, find_sounds
        from ..errors import DataError

        files = list(find_sounds(inputs))
        if not files:
            raise DataError(f"{' '.join(inputs)}: no sound files there")
        bare = len(files) == 1 and not Path(inputs[0]).is_dir()
        captioner = Captioner.load(model_folder(model, quiet) if model else None, pick_device(device, threads))
        chosen = {
            "beam_size": beam_size,
            "min_words": min_words,
            "max_words": max_words,
            "length_penalty": length_penalty,
            "no_repeat_ngram": no_repeat_ngram,
        }
        decoding = override(captioner.info.decoding, chosen)
        failed = 0
        with _captions_to(out, overwrite, bare) as write, console.StepProgress("captioning", len(files), quiet) as bar:
            for done, result in enumerate(captioner.caption(files, decoding, batch_size), start=1):
                if result.error:
                    failed += 1
                    console.error(str(result.error))
                else:
                    if result.truncated and not quiet:
                        console.warn(f"{result.file}: longer than 30 s, only its start was heard")
                    write(result)
                bar.update(done)
        if len(files) > 1 and not quiet:
            console.say(f"{len(files) - failed} captioned, {failed} failed" + (f", see {out}" if out else ""))
        if failed:
            raise typer.Exit(console.FAILED)


@contextmanager
def _captions_to(out: Path | None, overwrite: bool, bare: bool) -> Iterator[Callable[[Caption], None]]:
    """Where captions go: the csv if there is one, else stdout."""
    from ..writers import writing

    if out:
        with writing(out, overwrite) as writer:
            yield writer.write
        return
    # Names that are not UTF-8 go out as the bytes they are.
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]

    def show(result: Caption) -> None:
        print(result.caption if bare else f"{result.file}\t{result.caption}", flush=True)

    yield show
