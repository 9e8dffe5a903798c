"""Minutes of sound against seconds, as an SVG that can be read on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 560, 300, 56, 44, 28, 20
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.axis{stroke:#888}.grid{stroke:#8883}"
    ".line{stroke:#1a7f5a;stroke-width:2}.point{fill:#1a7f5a}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.line{stroke:#4cc38a}.point{fill:#4cc38a}}"
)


def _step(most: float) -> float:
    """A round distance between ticks, about five of them."""
    power = 10.0 ** (len(f"{most / 5:.0f}") - 1)
    return next(power * n for n in (1, 2, 5, 10) if power * n >= most / 5)


def draw(points: Sequence[tuple[float, float]], slope: float, intercept: float, r2: float) -> str:
    """Points (minutes, seconds), and the line through them."""
    most_x, most_y = 1.08 * max(x for x, _ in points), 1.1 * max(y for _, y in points)

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (WIDTH - LEFT - RIGHT) * x / most_x, (HEIGHT - TOP - BOTTOM) * y / most_y
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    def line(kind: str, a: tuple[float, float], b: tuple[float, float]) -> str:
        return f'<line class="{kind}" x1="{a[0]}" y1="{a[1]}" x2="{b[0]}" y2="{b[1]}"/>'

    parts = [line("axis", at(0, 0), at(most_x, 0)), line("axis", at(0, 0), at(0, most_y))]
    for i in range(1, 1 + int(most_x / _step(most_x))):
        x, y = at(i * _step(most_x), 0)
        parts.append(f'<text x="{x}" y="{y + 17}" text-anchor="middle">{i * _step(most_x):g}</text>')
    for i in range(1, 1 + int(most_y / _step(most_y))):
        x, y = at(0, i * _step(most_y))
        parts.append(line("grid", (x, y), at(most_x, i * _step(most_y))))
        parts.append(f'<text x="{x - 7}" y="{y + 4}" text-anchor="end">{i * _step(most_y):g}</text>')
    parts.append(line("line", at(0, max(0.0, intercept)), at(most_x, intercept + slope * most_x)))
    parts += [f'<circle class="point" cx="{at(x, y)[0]}" cy="{at(x, y)[1]}" r="4.5"/>' for x, y in points]
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">minutes of sound</text>')
    parts.append(f'<text x="{LEFT - 40}" y="16">seconds</text>')
    parts.append(f'<text x="{middle}" y="16" text-anchor="middle">{slope:.2f} s a minute, R² = {r2:.4f}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="Seconds against minutes of sound, {slope:.2f} seconds a minute">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>\n"
    )
