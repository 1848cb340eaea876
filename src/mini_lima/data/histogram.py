"""A histogram as an SVG picture, without a drawing library: it can stand in a page as it is.

Bins double in width, because lengths of texts range from one word to pages.
"""

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#9db4c0", "#c2410c", "#3f6212")
WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 40, 44
LARGEST = 16


def histogram(series: Mapping[str, Sequence[int]], *, title: str, unit: str) -> str:
    """Return an SVG document with a bar per bin and series.

    Args:
        series: Numbers from 0 on, by the name that the legend gives them; at most three.
        title: Stands above, and is what a screen reader says.
        unit: Of the numbers, below the axis.
    """
    edges = _edges(max((max(numbers, default=0) for numbers in series.values()), default=0))
    heights = {name: _binned(numbers, edges) for name, numbers in series.items()}
    tallest = max((max(bins) for bins in heights.values()), default=0) or 1
    slot = (WIDTH - LEFT - RIGHT) / len(edges)
    bar = slot * 0.8 / max(len(series), 1)
    floor = HEIGHT - BOTTOM
    shapes = [
        _text(LEFT, 16, title, size=13),
        _text(WIDTH / 2, HEIGHT - 6, unit, anchor="middle"),
        f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}" stroke="#444"/>',
        _text(LEFT - 6, TOP + 4, str(tallest), anchor="end"),
        _text(LEFT - 6, floor + 4, "0", anchor="end"),
    ]
    for at, edge in enumerate(edges):
        shapes.append(_text(LEFT + slot * (at + 0.5), floor + 14, f"{edge}–", anchor="middle"))
    for number, (name, bins) in enumerate(heights.items()):
        colour = COLOURS[number]
        legend = LEFT + 150 * number
        shapes.append(f'<rect x="{legend}" y="23" width="10" height="10" fill="{colour}"/>')
        shapes.append(_text(legend + 14, 32, f"{name} ({len(series[name])})"))
        for at, count in enumerate(bins):
            x, tall = LEFT + slot * (at + 0.1) + bar * number, (floor - TOP) * count / tallest
            shapes.append(
                f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{bar:.1f}" height="{tall:.1f}"'
                f' fill="{colour}"><title>{count}</title></rect>'
            )
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _edges(largest: int) -> list[int]:
    """The lower ends of the bins: 0, 8, 16, 32 and so on."""
    edges = [0, 8]
    while 2 * edges[-1] <= largest and len(edges) < LARGEST:
        edges.append(2 * edges[-1])
    return edges


def _binned(numbers: Sequence[int], edges: Sequence[int]) -> list[int]:
    bins = [0] * len(edges)
    for number in numbers:
        bins[sum(edge <= number for edge in edges) - 1] += 1
    return bins


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="#222" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
