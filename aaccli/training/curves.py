"""Learning curves of a run as one html page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Any

Points = list[tuple[float, float]]
WIDTH, HEIGHT, LEFT, BOTTOM = 640.0, 240.0, 56.0, 24.0  # of a chart, and the room for its numbers
MOST_POINTS = 400  # of a curve over steps: more are averaged
RELOAD_SECONDS = 30
SCORES = {"cider_d": "CIDEr-D", "rouge_l": "ROUGE-L", "bleu_4": "BLEU-4", "bleu_1": "BLEU-1"}

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">$reload
<meta name="viewport" content="width=device-width, initial-scale=1"><title>$title</title><style>
:root{color-scheme:light dark;--line:#8884;--c0:#2563eb;--c1:#d97706;--c2:#059669;--c3:#9333ea}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin-top:2rem}svg{width:100%;height:auto;font-size:11px}
svg text{fill:currentColor}svg .grid{stroke:var(--line)}polyline{fill:none;stroke-width:1.6}
.s0{stroke:var(--c0);color:var(--c0)}.s1{stroke:var(--c1);color:var(--c1)}
.s2{stroke:var(--c2);color:var(--c2)}.s3{stroke:var(--c3);color:var(--c3)}
figcaption span{margin-right:1.2em;font-weight:600}li{margin:.6em 0}q{font-weight:600}
</style></head><body><h1>$title</h1><p>$about</p>
$charts
$examples
</body></html>
""")


def render(title: str, steps: Sequence[dict[str, Any]], epochs: Sequence[dict[str, Any]], running: bool) -> str:
    """The page.

    Parameters
    ----------
    title : str
    steps, epochs : sequence of dict
        Fields of ``Step`` and ``Epoch``, in their order.
    running : bool
        Whether browsers are to load the page again now and then.
    """
    charts = [
        _chart(
            "Loss", {"training": _by_epoch(epochs, "train_loss"), "validation": _by_epoch(epochs, "validation_loss")}
        ),
        _chart(
            "Loss of each step",
            {name: _by_step(steps, key) for name, key in (("words", "cross_entropy"), ("RLSSR", "rlssr"))},
        ),
        _chart("Scores of captions of the validation clips", {n: _scores(epochs, key) for key, n in SCORES.items()}),
        _chart("Learning rate", {"learning rate": _by_step(steps, "learning_rate")}),
    ]
    return PAGE.substitute(
        title=escape(title),
        reload=f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">' if running else "",
        about=escape(_about(epochs, running)),
        charts="\n".join(filter(None, charts)),
        examples=_examples(epochs),
    )


def _about(epochs: Sequence[dict[str, Any]], running: bool) -> str:
    state = "in training" if running else "ended"
    best = next((e for e in reversed(epochs) if e["best"]), None)
    if best is None:
        return f"{state}, no epoch is finished"
    return f"{state}; {len(epochs)} epochs, best {best['epoch']}: validation loss {best['validation_loss']:.4f}"


def _by_epoch(epochs: Sequence[dict[str, Any]], key: str) -> Points:
    return [(e["epoch"], e[key]) for e in epochs]


def _scores(epochs: Sequence[dict[str, Any]], key: str) -> Points:
    return [(e["epoch"], e["scores"][key]) for e in epochs if key in e["scores"]]


def _by_step(steps: Sequence[dict[str, Any]], key: str) -> Points:
    """Over epochs, means of neighbouring steps where there are many."""
    size = max(1, math.ceil(len(steps) / MOST_POINTS))
    points = []
    for start in range(0, len(steps), size):
        some = steps[start : start + size]
        last = some[-1]
        points.append((last["epoch"] - 1 + last["step"] / last["steps"], sum(s[key] for s in some) / len(some)))
    return points


def _chart(title: str, series: dict[str, Points]) -> str:
    """Lines over epochs with their last values; empty where there is nothing to draw."""
    series = {name: [p for p in points if math.isfinite(p[1])] for name, points in series.items()}
    every = [point for points in series.values() for point in points]
    if not every:
        return ""
    right, top = max(x for x, _ in every), max(y for _, y in every)
    low = min(0.0, *(y for _, y in every))
    ticks = _ticks(low, top)
    low, top = min(low, ticks[0]), max(top, ticks[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - 8) * x / right
        return across, 8 + (HEIGHT - BOTTOM - 8) * (top - y) / ((top - low) or 1.0)

    parts = []
    for tick in ticks:
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{LEFT:.0f}" x2="{WIDTH:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    parts.append(f'<text x="{WIDTH:.0f}" y="{HEIGHT - 6:.0f}" text-anchor="end">epoch {right:.4g}</text>')
    legend = ""
    for i, (name, points) in enumerate(series.items()):
        if points:
            # One point would be no line.
            drawn = " ".join("{:.1f},{:.1f}".format(*place(*p)) for p in (points * 2 if len(points) == 1 else points))
            parts.append(f'<polyline class="s{i % 4}" stroke-linecap="round" points="{drawn}"/>')
            legend += f'<span class="s{i % 4}">{escape(name)} {points[-1][1]:.4g}</span>'
    return (
        f'<h2>{escape(title)}</h2><figure><svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg><figcaption>{legend}</figcaption></figure>'
    )


def _ticks(low: float, top: float, count: int = 4) -> list[float]:
    """Round numbers that cover a range."""
    rough = (top - low or 1.0) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    return [i * step for i in range(math.floor(low / step), math.ceil(top / step) + 1)]


def _examples(epochs: Sequence[dict[str, Any]]) -> str:
    """The newest captions beside their references."""
    told = next((e for e in reversed(epochs) if e["examples"]), None)
    if told is None:
        return ""
    items = "".join(
        # Of bdi, so that a text which is written from right to left turns none of the others.
        f"<li><q><bdi>{escape(x['caption'])}</bdi></q><br>"
        f"{' / '.join(f'<bdi>{escape(r)}</bdi>' for r in x['references'])}</li>"
        for x in told["examples"]
    )
    return f"<h2>Captions after epoch {told['epoch']}, and what people said</h2><ol>{items}</ol>"
