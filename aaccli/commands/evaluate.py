"""``aac evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .. import console
from ..devices import pick_device
from .options import Device, InferencePrecision, Quiet, Threads, decode_as
from .progress import fetch_progress

if TYPE_CHECKING:
    from ..data.clips import Clip
    from ..metrics.evaluation import Evaluation
    from ..metrics.reading import Pairs

DATA, CAPTIONS, DECODING = "Data to caption: one of", "Captions to score", "Captioning"


def evaluate(
    split: Annotated[
        Literal["development", "validation", "evaluation"] | None,
        typer.Option(help="Split of Clotho; evaluation if nothing else is given.", rich_help_panel=DATA),
    ] = None,
    clotho: Annotated[
        Path | None,
        typer.Option(help="Folder of Clotho; else AAC_CLOTHO, ./data, the cache.", rich_help_panel=DATA),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="References of your own: file_name, caption_1, ... (or caption).", rich_help_panel=DATA),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder of the recordings: of --csv, or to put into --report.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            help="A system's captions: csv, tsv, json, jsonl. Twice or more: differences too.",
            rich_help_panel=CAPTIONS,
        ),
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="What people said: the same kinds of files.", rich_help_panel=CAPTIONS)
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Score what has both, where a prediction or a reference is missing."),
    ] = False,
    metrics: Annotated[
        str | None, typer.Option(help="Some of bleu,rouge_l,meteor,cider_d,spice,spider; else all that can be had.")
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of clips for the 95 % intervals; 0: none.")] = 1000,
    out: Annotated[
        list[Path] | None, typer.Option(help="scores.json: all numbers; predictions.csv: the captions. Repeatable.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="A page to read and listen to, in one html file.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out and --report if they are there.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder of a model, or OWNER/NAME[@REVISION] on the Hub; else the one that comes with aac.",
            rich_help_panel=DECODING,
        ),
    ] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, help="1 is greedy.", rich_help_panel=DECODING)] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Windows heard at once.", rich_help_panel="Machine")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    precision: InferencePrecision = "auto",
    quiet: Quiet = False,
) -> None:
    """Score captions as papers do: BLEU, ROUGE-L, METEOR, CIDEr-D, SPICE, SPIDEr.

    ```
    aac evaluate --split evaluation --clotho ./data
    aac evaluate --predictions mine.csv --references references.csv
    aac evaluate --predictions a.csv --predictions b.csv --references references.csv
    aac evaluate --csv captions.csv --audio clips/ --out scores.json --report report.html
    ```

    The scores are those of the COCO caption evaluation. SPICE needs `aac download spice` once.
    """
    with console.errors_to_exit_codes(), _held(out or [], report, overwrite):
        from ..errors import ConfigError
        from ..metrics.bootstrap import bootstrap as intervals_of
        from ..metrics.evaluation import METRICS, metrics_named
        from ..metrics.output import Context, as_data, to_csv, to_json, write_whole
        from ..metrics.reading import pair
        from .scores import show

        wanted = metrics_named(metrics) if metrics else tuple(METRICS)
        scored, captioned = [p for p in out or () if p.suffix == ".json"], [p for p in out or () if p.suffix == ".csv"]
        if predictions:
            if not references or split or clotho or csv or model:
                raise ConfigError("--predictions goes with --references, and with no data to caption")
            source = _given(predictions, references)
            if captioned and len(predictions) > 1:
                raise ConfigError("--out predictions.csv holds the captions of one system")
        elif references:
            raise ConfigError("--references goes with --predictions; to caption recordings: --csv and --audio")
        else:
            clips, title, folder = _clips(clotho, split, csv, audio)
            source = _captioned(
                clips, title, folder, model, precision, {"beam_size": beam_size}, batch_size, device, threads, quiet
            )
            for path in captioned:  # before scoring: what was done is kept
                write_whole(path, to_csv(next(iter(source.systems.values()))))
        pairs = pair(source.references, source.systems, partial)
        for line in pairs.left_out:
            console.warn(line)
        if predictions:
            for path in captioned:
                write_whole(path, to_csv(dict(zip(pairs.files, next(iter(pairs.systems.values())), strict=True))))
        evaluation = _scored(pairs, wanted, quiet)
        intervals = intervals_of([system.scores for system in evaluation.systems.values()], bootstrap)
        options = {"metrics": list(wanted), "bootstrap": bootstrap, "partial": partial, **source.options}
        context = Context(source.title, options, source.model, source.paper)
        for path in scored:
            write_whole(path, to_json(as_data(evaluation, intervals, context)))
        if report:
            from ..report import render

            recordings = source.recordings or (_recordings(pairs, audio) if audio else {})
            with console.StepProgress("report", len(recordings), quiet) as progress:
                write_whole(report, render(evaluation, intervals, context, recordings, report.parent, progress.update))
        show(evaluation, intervals, context)
        if not quiet:
            for warning in evaluation.warnings:
                console.warn(warning)
        if evaluation.failed or (metrics and evaluation.unavailable):
            raise typer.Exit(console.FAILED)


@dataclass(frozen=True)
class _Source:
    """Captions of systems and references, before they are paired."""

    references: dict[str, tuple[str, ...]]
    systems: dict[str, dict[str, str]]
    title: str
    options: dict[str, Any]
    paper: bool  # the paper's scores are of these clips
    model: dict[str, Any] | None = None
    recordings: dict[str, Path] | None = None


@contextmanager
def _held(out: Sequence[Path], report: Path | None, overwrite: bool) -> Iterator[None]:
    """Keep other processes from writing where this one will, from the start: who comes later finds it there."""
    from ..errors import ConfigError, OutputError
    from ..files.locks import held
    from ..files.wholefile import advised, beside

    pages = [report] if report else []
    wrong = [p for p in out if p.suffix not in (".json", ".csv")] + [p for p in pages if p.suffix != ".html"]
    if wrong:
        raise ConfigError(f"{wrong[0]}: --out takes names that end in .json or .csv, --report one in .html")
    with advised("type the same command again, with --overwrite"), ExitStack() as locks:
        for path in {path.absolute(): path for path in (*out, *pages)}.values():
            if not path.parent.is_dir():
                raise ConfigError(f"{path}: no folder {path.parent}")
            busy = OutputError(f"{path}: another aac is at work on it; wait for its end")
            locks.enter_context(held(beside(path, ".lock"), busy))
            if path.exists() and not overwrite:
                raise ConfigError(f"{path}: is there already; give another name, or --overwrite")
        yield


def _given(predictions: Sequence[Path], references: Path) -> _Source:
    """Captions of other systems, named by their files."""
    from ..metrics.reading import read_predictions, read_references

    short = [path.stem for path in predictions]
    names = short if len(set(short)) == len(short) else list(map(str, predictions))
    return _Source(
        read_references(references),
        {name: read_predictions(path) for name, path in zip(names, predictions, strict=True)},
        references.stem,
        {"predictions": list(map(str, predictions)), "references": str(references)},
        paper=references.name == "clotho_captions_evaluation.csv",
    )


def _clips(
    clotho: Path | None, split: str | None, csv: Path | None, audio: Path | None
) -> tuple[list[Clip], str, Path]:
    """Recordings with references, what they are called, and the folder that holds them."""
    from ..data.clips import find_clotho, read_captions
    from ..errors import ConfigError, DataError
    from ..fetching.cache import clotho_folders

    if csv:
        if not audio or clotho or split:
            raise ConfigError("--csv goes with --audio, the folder of the recordings, and not with Clotho")
        return read_captions(csv, audio), csv.stem, audio
    split = split or "evaluation"
    folders = [clotho] if clotho else clotho_folders()
    found = next((paths for folder in folders if (paths := find_clotho(folder, split))), None)
    if not found:
        raise DataError(
            f"no {split} split of Clotho in {', '.join(map(str, folders))}: "
            f"run aac download clotho --split {split} --to data, or give --clotho DIR"
        )
    return read_captions(*found), f"Clotho {split}", found[1]


def _captioned(
    clips: Sequence[Clip],
    title: str,
    folder: Path,
    model: str | None,
    precision: InferencePrecision,
    chosen: dict[str, Any],
    batch_size: int | None,
    device: str,
    threads: int | None,
    quiet: bool,
) -> _Source:
    """Caption recordings."""
    from ..captioning.captioner import Captioner
    from ..config import to_dict

    with fetch_progress(quiet) as watch:
        captioner = Captioner.from_pretrained(model, pick_device(device, threads), watch, precision=precision)
    decoding = decode_as(captioner.info.decoding, chosen)
    names = {str(clip.path): clip.path.relative_to(folder).as_posix() for clip in clips}
    said: dict[str, str] = {}
    with console.StepProgress("captioning", len(clips), quiet) as progress:
        for done, result in enumerate(captioner.stream(names, decoding, batch_size), start=1):
            if result.error:
                console.error(str(result.error))
            else:
                said[names[result.file]] = result.caption
            progress.update(done)
    return _Source(
        {names[str(clip.path)]: clip.captions for clip in clips},
        {Path(model).name if model else "aac": said},
        title,
        {"recordings": str(folder)},
        paper=title == "Clotho evaluation",
        model={
            "name": captioner.name,
            "fingerprint": captioner.fingerprint,
            "decoding": to_dict(decoding),
            "precision": captioner.engine.precision,
        },
        recordings={names[str(clip.path)]: clip.path for clip in clips},
    )


def _recordings(pairs: Pairs, audio: Path) -> dict[str, Path]:
    """Where the recordings of clips are, as far as they are there."""
    from ..errors import DataError
    from ..files.within import find_within

    found = {}
    for file in pairs.files:
        with suppress(DataError):  # a name that leads out of the folder is not in it
            if (path := find_within(audio, file)).is_file():
                found[file] = path
    if not found:
        raise DataError(f"{audio}: holds none of the recordings, such as {pairs.files[0]}")
    if len(found) < len(pairs.files):
        console.warn(f"{audio}: lacks {len(pairs.files) - len(found)} of {len(pairs.files)} recordings")
    return found


def _scored(pairs: Pairs, wanted: Sequence[str], quiet: bool) -> Evaluation:
    from ..metrics.evaluation import evaluate

    if quiet or not console.stderr.is_terminal:
        return evaluate(pairs, wanted)
    with console.stderr.status("scoring") as status:
        return evaluate(pairs, wanted, lambda what: status.update(f"scoring: {what}"))
