"""An evaluation as one html page that needs nothing else: to read, sort, search and listen to."""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np

from . import __version__
from .errors import AudioError
from .metrics.bootstrap import Interval, Intervals
from .metrics.evaluation import NAMES, Evaluation, SystemScores
from .metrics.output import Context, differences
from .metrics.published import PAPER, PAPER_COLUMNS
from .metrics.result import Numbers
from .metrics.tokenization import WORD
from .picture import logmel_picture

TEMPLATE = Path(__file__).with_name("report.html")
EMBEDDED_BYTES = 400_000  # of a recording; longer ones are linked
EMBEDDED_TOTAL = 30_000_000  # of all recordings: a page must still open
PICTURE_SECONDS = 60.0
BINS = 24


def render(
    evaluation: Evaluation,
    intervals: Intervals,
    context: Context,
    recordings: Mapping[str, Path],
    folder: Path,
    on_clip: Callable[[int], None] = lambda done: None,
) -> str:
    """The page of an evaluation.

    Parameters
    ----------
    evaluation, intervals, context
        What to show.
    recordings : mapping of str to Path
        Files of the clips, as far as they are there. Small ones are embedded.
    folder : Path
        Where the page will be, for links to the others.
    on_clip : callable, optional
        Is told how many recordings are done.
    """
    sounds = _Sounds(recordings, folder, on_clip)
    scores = list(_first(evaluation).scores)
    tops = {s: _top(system.scores[s].clips for system in evaluation.systems.values()) for s in scores}
    clips = "\n".join(_clip(evaluation, i, tops, sounds) for i in range(len(evaluation.files)))
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"{context.title}: {', '.join(evaluation.systems)}"),
        heading=escape(context.title),
        about=_about(evaluation, context),
        notes=_notes(evaluation),
        summary=_summary(evaluation, intervals),
        paper=_paper(evaluation) if context.paper else "",
        plots="\n".join(_plot(evaluation, score, tops[score]) for score in scores),
        systems=_sort_by(evaluation),
        heads="".join(_head(NAMES[score]) for score in scores),
        clips=clips,
        count=len(evaluation.files),
    )


def _first(evaluation: Evaluation) -> SystemScores:
    return next(iter(evaluation.systems.values()))


def _about(evaluation: Evaluation, context: Context) -> str:
    model = f"captions by {context.model['name']}" if context.model else ", ".join(evaluation.systems)
    return escape(f"{len(evaluation.files)} clips, {model}; scored by aac {__version__}")


def _notes(evaluation: Evaluation) -> str:
    lines = [*evaluation.warnings]
    for reason in dict.fromkeys(evaluation.unavailable.values()):
        which = ", ".join(NAMES[s] for s, why in evaluation.unavailable.items() if why == reason)
        lines.append(f"{which}: not available: {reason}")
    return "".join(f'<p class="note">{escape(line)}</p>' for line in lines)


def _table(caption: str, heads: Iterable[str], rows: Iterable[tuple[str, Iterable[str], str]]) -> str:
    """A table of texts with a head in each row; rows are (head, cells, class)."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join(
        f'<tr class="{kind}"><th scope="row">{escape(head)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for head, cells, kind in rows
    )
    return (
        f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0"><table class="numbers">'
        f"<caption>{escape(caption)}</caption><thead><tr><td></td>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _summary(evaluation: Evaluation, intervals: Intervals) -> str:
    names = list(evaluation.systems)
    heads = [*names, *(f"{name} − {names[0]}" for name in names[1:])]
    rows: list[tuple[str, Iterable[str], str]] = []
    for score in _first(evaluation).scores:
        cells = [
            _number(system.scores[score].corpus, of.get(score))
            for system, of in zip(evaluation.systems.values(), intervals.systems, strict=True)
        ]
        cells += [
            _number(differences(evaluation, name)[score], of.get(score), signed=True)
            for name, of in zip(names[1:], intervals.differences, strict=True)
        ]
        rows.append((NAMES[score], cells, ""))
    words = [system.words for system in evaluation.systems.values()]
    blank = [""] * (len(names) - 1)
    rows += [
        ("distinct words", [*(str(w.distinct) for w in words), *blank], "words"),
        ("words a caption", [*(f"{w.mean_length:.1f}" for w in words), *blank], ""),
        ("repeated captions", [*(f"{w.repeated:.1%}" for w in words), *blank], ""),
    ]
    told = " with 95 % intervals by bootstrap over clips" if any(intervals.systems) else ""
    return _table(f"Scores of all clips{told}", heads, rows)


def _number(value: float, interval: Interval | None, signed: bool = False) -> str:
    text = _signed(value, 4) if signed else f"{value:.4f}"
    if interval is None:
        return text
    low, high = (_signed(e, 3) if signed else f"{e:.3f}" for e in (interval.low, interval.high))
    sure = signed and interval.low * interval.high > 0
    text = f"<strong>{text}</strong>" if sure else text
    return f'{text} <span class="interval"><span class="hidden">interval</span> {low} to {high}</span>'


def _signed(value: float, places: int) -> str:
    return f"{value:+.{places}f}".replace("-", "−")


def _paper(evaluation: Evaluation) -> str:
    def cells(values: Iterable[float | None]) -> list[str]:
        return ["–" if value is None else f"{value:.3f}" for value in values]

    rows: list[tuple[str, Iterable[str], str]] = [
        (name, cells(s.scores[m].corpus if m in s.scores else None for m in PAPER_COLUMNS), "ours")
        for name, s in evaluation.systems.items()
    ]
    rows += [(name, cells(values), "") for name, values in PAPER.items()]
    return _table("Beside Koh, Xue and Chng (2021)", [NAMES[score] for score in PAPER_COLUMNS], rows)


def _plot(evaluation: Evaluation, score: str, top: float) -> str:
    """Histograms of one score over clips: the first system filled, the others as lines."""
    values = [system.scores[score].clips for system in evaluation.systems.values()]
    counts = [np.histogram(v, BINS, (0.0, top))[0] for v in values]
    tallest = max(int(c.max()) for c in counts)
    width, height = 240.0, 90.0
    step = width / BINS
    parts = []
    for number, bins in enumerate(counts):
        heights = bins / tallest * height
        if number == 0:
            parts += [
                f'<rect x="{i * step + 0.5:.1f}" y="{height - h:.1f}" width="{step - 1:.1f}" height="{h:.1f}"/>'
                for i, h in enumerate(heights)
                if h
            ]
        else:
            points = " ".join(f"{x * step:.1f},{height - h:.1f}" for i, h in enumerate(heights) for x in (i, i + 1))
            parts.append(f'<polyline class="s{min(number, 3)}" points="{points}"/>')
    told = []
    for name, v in zip(evaluation.systems, values, strict=True):
        low, middle, high = np.quantile(v, [0.25, 0.5, 0.75])
        prefix = f"{name}: " if len(values) > 1 else ""
        told.append(f"{prefix}median {middle:.3f}, half of the clips from {low:.3f} to {high:.3f}")
    name = escape(NAMES[score])
    lines = "".join(f'<span class="s{min(i, 3)}">{escape(line)}</span>' for i, line in enumerate(told))
    return (
        f'<figure><svg viewBox="0 -4 {width:.0f} {height + 20:.0f}" role="img" aria-label="Histogram of {name}">'
        f'{"".join(parts)}<line x1="0" x2="{width:.0f}" y1="{height:.0f}" y2="{height:.0f}"/>'
        f'<text x="0" y="{height + 13:.0f}">0</text>'
        f'<text x="{width:.0f}" y="{height + 13:.0f}" text-anchor="end">{top:.3g}</text></svg>'
        f"<figcaption><b>{name}</b>{lines}</figcaption></figure>"
    )


def _sort_by(evaluation: Evaluation) -> str:
    """What is sorted by, where there are several systems."""
    names = list(evaluation.systems)
    if len(names) == 1:
        return ""
    options = [*names, *(f"{name} − {names[0]}" for name in names[1:])]
    items = "".join(f'<option value="{i}">{escape(option)}</option>' for i, option in enumerate(options))
    return f'<label>Sort by the scores of <select id="system">{items}</select></label>'


def _head(name: str) -> str:
    return f'<th scope="col" aria-sort="none"><button type="button">{escape(name)}</button></th>'


def _clip(evaluation: Evaluation, index: int, tops: Mapping[str, float], sounds: _Sounds) -> str:
    """The row of a clip."""
    file, references = evaluation.files[index], evaluation.references[index]
    captions = {name: system.captions[index] for name, system in evaluation.systems.items()}
    in_references = {word for reference in references for word in words_of(reference)}
    in_captions = {word for caption in captions.values() for word in words_of(caption)}
    several = len(captions) > 1
    said = "".join(
        f'<p class="caption">{f"<b>{escape(name)}</b> " if several else ""}{_marked(caption, in_references)}</p>'
        for name, caption in captions.items()
    )
    listed = "".join(f"<li>{_marked(reference, in_captions)}</li>" for reference in references)
    cells = "".join(
        _score_cell([float(system.scores[score].clips[index]) for system in evaluation.systems.values()], tops[score])
        for score in _first(evaluation).scores
    )
    return (
        f'<tr><th scope="row"><span class="name">{escape(file)}</span>{sounds.html(file)}</th>'
        f'<td class="said">{said}<ol>{listed}</ol></td>{cells}</tr>'
    )


def _top(values: Iterable[Numbers]) -> float:
    """The right end of a score's scale: 1, or the highest where CIDEr-D goes beyond."""
    return max(1.0, *(float(v.max()) for v in values))


def _score_cell(values: Sequence[float], top: float) -> str:
    shown = "<br>".join(f"{value:.3f}" for value in values)
    keys = [*values, *(value - values[0] for value in values[1:])]
    share = f"{max(values[0], 0.0) / top:.3f}"
    return f'<td class="score" data-v="{" ".join(f"{key:.9g}" for key in keys)}" style="--v:{share}">{shown}</td>'


def words_of(caption: str) -> list[str]:
    """The words of a caption that are compared for marking, lower case."""
    return [word.lower() for word in WORD.findall(caption)]


def _marked(caption: str, shared: set[str]) -> str:
    """A caption as html, with the shared words marked."""
    parts, end = [], 0
    for match in WORD.finditer(caption):
        word = escape(match[0])
        parts += [
            escape(caption[end : match.start()]),
            f"<mark>{word}</mark>" if match[0].lower() in shared else word,
        ]
        end = match.end()
    return "".join([*parts, escape(caption[end:])])


class _Sounds:
    """Recordings as a player and a picture each."""

    def __init__(self, recordings: Mapping[str, Path], folder: Path, on_clip: Callable[[int], None]) -> None:
        self.recordings = recordings
        self.folder = folder
        self.on_clip = on_clip
        self.done = 0
        self.embedded = 0

    def html(self, file: str) -> str:
        path = self.recordings.get(file)
        if path is None:
            return ""
        self.done += 1
        self.on_clip(self.done)
        name = escape(file)
        try:
            picture = base64.b64encode(logmel_picture(path, PICTURE_SECONDS)).decode()
            source = self._source(path)
        except (AudioError, OSError) as error:
            return f'<p class="note">{escape(str(error))}</p>'
        return (
            f'<div class="sound"><button type="button" class="play" data-src="{escape(source)}" aria-pressed="false" '
            f'aria-label="Play {name}"></button><div class="picture"><img alt="Log-mel picture of {name}" '
            f'src="data:image/png;base64,{picture}"><i></i></div></div>'
        )

    def _source(self, path: Path) -> str:
        """An address: the recording itself, or a link from the page's folder."""
        size = path.stat().st_size
        if size <= EMBEDDED_BYTES and self.embedded + size <= EMBEDDED_TOTAL:
            self.embedded += size
            kind = mimetypes.guess_type(path.name)[0] or "audio/wav"
            return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        try:
            relative = os.path.relpath(path, self.folder)
        except ValueError:  # another drive
            return path.resolve().as_uri()
        return quote(os.fsencode(relative.replace(os.sep, "/")))
