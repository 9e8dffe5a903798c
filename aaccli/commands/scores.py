"""Scores on stdout: a table on a terminal, tab-separated lines elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..metrics.bootstrap import Interval, Intervals
from ..metrics.evaluation import NAMES, Evaluation
from ..metrics.output import Context, differences
from ..metrics.published import PAPER, PAPER_COLUMNS

PAPER_TITLE = "Koh, Xue and Chng (2021), Clotho evaluation"


def show(evaluation: Evaluation, intervals: Intervals, context: Context) -> None:
    """Print an evaluation."""
    stdout = Console(highlight=False)
    if not stdout.is_terminal:
        print("\n".join("\t".join(line) for line in _lines(evaluation, intervals)))
        return
    stdout.print(_scores(evaluation, intervals, context))
    if context.paper:
        stdout.print(_beside_paper(evaluation))
    for reason in dict.fromkeys(evaluation.unavailable.values()):
        which = ", ".join(NAMES[s] for s, why in evaluation.unavailable.items() if why == reason)
        stdout.print(f"{which}: [yellow]not available: {escape(reason)}[/]", soft_wrap=True)


def _scores(evaluation: Evaluation, intervals: Intervals, context: Context) -> Table:
    """Metrics down, systems across, differences last."""
    table = Table(title=escape(f"{context.title}: {len(evaluation.files)} clips"), caption_justify="left")
    table.add_column("")
    columns: list[tuple[dict[str, float], dict[str, Interval], bool]] = []
    for (name, system), of in zip(evaluation.systems.items(), intervals.systems, strict=True):
        table.add_column(escape(name), justify="right")
        columns.append(({s: score.corpus for s, score in system.scores.items()}, of, False))
    first = next(iter(evaluation.systems))
    for name, of in zip(list(evaluation.systems)[1:], intervals.differences, strict=True):
        table.add_column(escape(f"{name} - {first}"), justify="right")
        columns.append((differences(evaluation, name), of, True))
    for score in next(iter(evaluation.systems.values())).scores:
        table.add_row(NAMES[score], *(_cell(values[score], of.get(score), signed) for values, of, signed in columns))
    if evaluation.unavailable:
        for score in evaluation.unavailable:
            table.add_row(NAMES[score], *("[dim]-[/]" for _ in columns))
    table.add_section()
    blank = [""] * (len(columns) - len(evaluation.systems))
    words = [system.words for system in evaluation.systems.values()]
    table.add_row("distinct words", *(str(w.distinct) for w in words), *blank)
    table.add_row("words a caption", *(f"{w.mean_length:.1f}" for w in words), *blank)
    table.add_row("repeated captions", *(f"{w.repeated:.1%}" for w in words), *blank)
    return table


def _cell(value: float, interval: Interval | None, signed: bool) -> str:
    text = f"{value:+.4f}" if signed else f"{value:.4f}"
    if interval is None:
        return text
    low, high = (f"{edge:+.3f}" if signed else f"{edge:.3f}" for edge in (interval.low, interval.high))
    # A difference whose interval leaves out 0 is one that clips drawn anew would show too.
    return f"{f'[bold]{text}[/]' if signed and interval.low * interval.high > 0 else text} [dim]{low} .. {high}[/]"


def _beside_paper(evaluation: Evaluation) -> Table:
    """Systems down, metrics across, as in papers."""
    table = Table(title=f"beside {PAPER_TITLE}", padding=(0, 0), pad_edge=False)
    table.add_column("")
    for score in PAPER_COLUMNS:
        table.add_column(NAMES[score].replace("BLEU-", "B"), justify="right", no_wrap=True)
    for name, system in evaluation.systems.items():
        values = [system.scores[s].corpus if s in system.scores else None for s in PAPER_COLUMNS]
        table.add_row(escape(name), *map(_short, values), style="bold")
    table.add_section()
    for name, published in PAPER.items():
        table.add_row(name, *map(_short, published))
    return table


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _lines(evaluation: Evaluation, intervals: Intervals) -> list[tuple[str, ...]]:
    """Rows of system, metric, score, low, high."""
    lines: list[tuple[str, ...]] = [("system", "metric", "score", "low", "high")]
    for (name, system), of in zip(evaluation.systems.items(), intervals.systems, strict=True):
        lines += [(name, s, f"{score.corpus:.6f}", *_edges(of.get(s))) for s, score in system.scores.items()]
        lines += [(name, s, f"not available: {why}", "", "") for s, why in evaluation.unavailable.items()]
        lines.append((name, "distinct_words", str(system.words.distinct), "", ""))
        lines.append((name, "words_a_caption", f"{system.words.mean_length:.3f}", "", ""))
        lines.append((name, "repeated_captions", f"{system.words.repeated:.4f}", "", ""))
    first = next(iter(evaluation.systems))
    for name, of in zip(list(evaluation.systems)[1:], intervals.differences, strict=True):
        values = differences(evaluation, name).items()
        lines += [(f"{name} - {first}", s, f"{value:.6f}", *_edges(of.get(s))) for s, value in values]
    return lines


def _edges(interval: Interval | None) -> tuple[str, str]:
    return (f"{interval.low:.6f}", f"{interval.high:.6f}") if interval else ("", "")
