"""``aac caption``."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from .. import __version__, console
from ..devices import pick_device
from ..errors import ConfigError
from .options import Device, InferencePrecision, Quiet, Threads, decode_as, override
from .progress import fetch_progress

if TYPE_CHECKING:
    import torch

    from ..captioning.captioner import Captioner
    from ..captioning.windows import Windowing
    from ..inputs import Source
    from ..model.beam import DecodingConfig
    from ..ranks import Ranks
    from ..writing.display import Display
    from ..writing.outputs import Job, Output, Tally
    from ..writing.resume import Identity

STDIN = STDOUT = "-"
Format = Literal["txt", "json", "jsonl", "csv", "tsv", "srt", "vtt"]


def caption(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="PATH", help="Files, folders, 'patterns*'; - is stdin.")
    ] = None,
    files_from: Annotated[str | None, typer.Option(metavar="F", help="List of more; - is stdin.")] = None,
    no_recursive: Annotated[bool, typer.Option("--no-recursive", help="Leave out folders in folders.")] = False,
    out: Annotated[str | None, typer.Option(metavar="F", help="File; or FOLDER/ for one a recording.")] = None,
    form: Annotated[Format | None, typer.Option("--format", metavar="X", help=f"{' '.join(get_args(Format))}.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin --out anew.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Hear what failed in --out again.")] = False,
    window: Annotated[float | None, typer.Option(metavar="S", help="Seconds, 1 to 120; else 30.")] = None,
    overlap: Annotated[float | None, typer.Option(metavar="S", help="Seconds shared by windows; else 0.")] = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Folder, or OWNER/NAME on the Hub; else aac's own.")
    ] = None,
    beam_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Else as the model says; 1: greedy.")
    ] = None,
    max_words: Annotated[int | None, typer.Option(metavar="N", min=1, help="Of a caption.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(metavar="P", help="Rank by log-probability / words ** P.")
    ] = None,
    alternatives: Annotated[
        int, typer.Option(metavar="N", min=0, show_default=False, help="Runners-up, in json and jsonl.")
    ] = 0,
    device: Device = "auto",
    threads: Threads = None,
    precision: InferencePrecision = "auto",
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Model, windows, captions too.", rich_help_panel="Machine")
    ] = False,
) -> None:
    """```
    aac caption clip.wav                            # the bare caption
    aac caption street.mp3 --out street.srt         # a window every 30 s
    aac caption recordings/ --out captions.csv      # again: goes on
    aac caption recordings/ --out subs/ --format vtt
    ```

    Say in a sentence what is heard in sound files, videos, and each window of long recordings.
    """  # noqa: D205
    with console.errors_to_exit_codes():
        _check_options(inputs, files_from, out, overwrite, retry_failed, quiet, verbose)
        from ..captioning.captioner import Captioner
        from ..captioning.windows import Windowing
        from ..files.wholefile import advised
        from ..ranks import joined

        with joined() as ranks:
            sources = _sources(inputs or [], files_from, not no_recursive, ranks)
            with fetch_progress(quiet) as watch:
                captioner = Captioner.from_pretrained(
                    model, _device(device, threads, ranks), watch, precision=precision
                )
            how = Manner(
                decode_as(
                    captioner.info.decoding,
                    {"beam_size": beam_size, "max_words": max_words, "length_penalty": length_penalty},
                ),
                override(Windowing(), {"window": window, "overlap": overlap}),
                alternatives,
                captioner.engine.precision,
            )
            if verbose:
                console.say(
                    f"model {captioner.name} ({captioner.fingerprint}) on {captioner.engine.device}, {how.options()}"
                )
            bare = len(sources) == 1 and [sources[0].name] == inputs
            again = "give --out FILE" if out in (None, STDOUT) else "type the same command again: it goes on from there"
            with (
                advised(again),
                _display(out, form, quiet, verbose) as display,
            ):
                output = _output(out, form, overwrite, retry_failed, captioner, how, bare, len(sources), display)
                tally = _caption_all(captioner, sources, how, output, display, ranks, out)
            if tally and len(sources) > 1 and not quiet:
                _say_tally(tally, out)
            if tally and tally.failed:
                raise typer.Exit(console.FAILED)


def _say_tally(tally: Tally, out: str | None) -> None:
    said = f"{tally.captioned} captioned, {tally.failed} failed"
    if out not in (None, STDOUT):
        said += f", see {out}"
    if tally.before:
        said += f" ({tally.before} were done before{'; --retry-failed hears what failed again' * bool(tally.failed)})"
    console.say(said)


@dataclass(frozen=True)
class Manner:
    """What a caption depends on beside the sound and the model."""

    decoding: DecodingConfig
    windowing: Windowing
    alternatives: int
    precision: str

    def options(self) -> dict[str, Any]:
        own = {"alternatives": self.alternatives, "precision": self.precision}
        return {**asdict(self.decoding), **asdict(self.windowing), **own}


def _check_options(
    inputs: list[str] | None,
    files_from: str | None,
    out: str | None,
    overwrite: bool,
    retry_failed: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Refuse options that contradict each other, before anything heavy is imported."""
    if not inputs and files_from is None:
        raise ConfigError("nothing to caption; name files or folders, or --files-from a list: aac caption clip.wav")
    if inputs and STDIN in inputs and files_from == STDIN:
        raise ConfigError("stdin cannot be both the sound (-) and the list (--files-from -)")
    if (overwrite or retry_failed) and out in (None, STDOUT):
        raise ConfigError("--overwrite and --retry-failed are about what --out holds; give --out a file or folder")
    if overwrite and retry_failed:
        raise ConfigError("--overwrite begins --out anew, --retry-failed goes on with it; give one of them")
    if quiet and verbose:
        raise ConfigError("--quiet or --verbose?")


def _sources(inputs: list[str], files_from: str | None, recursive: bool, ranks: Ranks) -> list[Source]:
    """What is to be heard; found by rank 0, so that all have the same list."""
    from ..errors import DataError
    from ..inputs import Source, find_sources, read_list

    found = []
    if ranks.rank == 0:
        names = [*inputs, *(read_list(files_from) if files_from is not None else [])]
        found = [(source.name, source.root) for source in find_sources(names, recursive)]
    sources = [Source(name, root) for name, root in ranks.broadcast(found)]
    if not sources:
        raise DataError(f"--files-from {files_from}: no files there")
    if ranks.count > 1 and any(source.name == STDIN for source in sources):
        raise ConfigError("several processes cannot share stdin; give files")
    return sources


def _device(name: str, threads: int | None, ranks: Ranks) -> torch.device:
    device = pick_device(name, threads)
    if ranks.count > 1 and name == "auto" and device.type == "cuda":
        return pick_device(f"cuda:{ranks.local}", None)
    return device


def _display(out: str | None, form: str | None, quiet: bool, verbose: bool) -> Display:
    from ..writing.display import Display

    # Rows of a table on the terminal leave no room for a bar; captions do.
    rows_on_terminal = out in (None, STDOUT) and form not in (None, "txt") and sys.stdout.isatty()
    return Display(not rows_on_terminal, quiet, verbose)


def _output(
    out: str | None,
    form: str | None,
    overwrite: bool,
    retry_failed: bool,
    captioner: Captioner,
    how: Manner,
    bare: bool,
    files: int,
    display: Display,
) -> Output:
    """Where captions go, as --out and --format say."""
    from ..writing.display import TerminalOutput
    from ..writing.outputs import FileOutput, FolderOutput, StreamOutput
    from ..writing.writers import OF_ONE_FILE, WITH_ALTERNATIVES, About, format_of, make_writer

    path = None if out is None or out == STDOUT else Path(out)
    to_folder = path is not None and (str(out).endswith(("/", os.sep)) or path.is_dir())
    if to_folder and not form:
        raise ConfigError(f"--out {out}: a folder has no suffix; give --format")
    kind = form or (format_of(path) if path else "txt")
    if kind in OF_ONE_FILE and files > 1 and not to_folder:
        raise ConfigError(f"{kind} holds one recording, here are {files}; give --out FOLDER/ --format {kind}")
    if how.alternatives and kind not in WITH_ALTERNATIVES:
        raise ConfigError(f"--alternatives are written to {' and '.join(WITH_ALTERNATIVES)}, not to {kind}")
    model = {"name": captioner.name, "fingerprint": captioner.fingerprint}
    about = About(model, __version__, how.options(), bare)
    if path is None:
        if sys.stdout is None:
            raise ConfigError("stdout is closed; give --out FILE")
        if kind == "txt" and sys.stdout.isatty():
            return TerminalOutput(about, display)
        return StreamOutput(sys.stdout.buffer, make_writer(kind, about))
    settings = {"model": captioner.fingerprint, "format": kind, **how.options()}
    if to_folder:
        return FolderOutput(path, kind, about, settings, overwrite, retry_failed)
    settings["bare"] = bare and kind == "txt"
    return FileOutput(path, make_writer(kind, about), settings, overwrite, retry_failed)


def _caption_all(
    captioner: Captioner,
    sources: Sequence[Source],
    how: Manner,
    output: Output,
    display: Display,
    ranks: Ranks,
    out: str | None,
) -> Tally | None:
    """Caption what is left to do; the tally on rank 0."""
    done = 0  # by this run
    try:
        jobs = _jobs(sources, output, ranks)
        display.expect([job.source for job in jobs])
        begun: deque[tuple[Job, Identity | None]] = deque()

        def names() -> Iterator[str]:
            for job in jobs:
                begun.append((job, job.source.identity()))  # before it is read: a later change is one
                yield job.source.name

        results = captioner.stream(
            names(), how.decoding, windowing=how.windowing, alternatives=how.alternatives, on_window=display.heard
        )
        for result in results:
            output.write(*begun.popleft(), result)
            done += 1
            display.done(result)
        ranks.wait()
        return output.finish() if ranks.rank == 0 else None
    except KeyboardInterrupt as interrupt:
        if out in (None, STDOUT):
            console.error(f"interrupted after {done} files")
        else:
            console.error(
                f"interrupted: {done} more files are done and kept in {out}; the same command goes on from there"
            )
        raise typer.Exit(console.code_of(interrupt)) from interrupt
    except BrokenPipeError as closed:
        # Whoever reads has had enough. What is left in the buffer goes nowhere, or Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from closed
    finally:
        output.close()


def _jobs(sources: Sequence[Source], output: Output, ranks: Ranks) -> Sequence[Job]:
    """The share of this rank in what is left to do."""
    from ..writing.outputs import Job

    places = {source.name: source for source in sources}
    todo = [(job.place, job.source.name) for job in output.begin(sources)] if ranks.rank == 0 else None
    todo = ranks.broadcast(todo)
    if ranks.rank != 0:
        output.join(ranks.rank, sources)
    return ranks.share([Job(place, places[name]) for place, name in todo])
