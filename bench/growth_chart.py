"""The curves: a small plot for each, both axes by powers, a line for each proxy."""

import math
from html import escape

from chart import MARGIN, STYLE, WIDTH, colours_of, text
from growth import short
from report import figure

LEFT, PLOT, GAP = 60, 220, 70  # for the figures on the left; height of a plot; between two

LINES = """
  .grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2 }
  @media (prefers-color-scheme: dark) { .grid { stroke: #30363d } }
"""


def svg(run):
    names = [name for name, peer in run["peers"].items() if peer["status"] == "measured"]
    colours = colours_of(names)
    parts, y = [text(MARGIN, MARGIN + 14, "How cost grows: lower is better, flat is best", "head")], MARGIN + 14
    x = MARGIN
    y += 24
    for name in names:
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" fill="{colours[name]}"/>')
        parts.append(text(x + 18, y, name, "quiet"))
        x += 18 + 8 * len(name) + 24
    for key, curve in run["curves"].items():
        points = [row for row in run["growth"] if row["curve"] == key]
        if points:
            y += 40
            parts.append(text(MARGIN, y, curve["title"], "head"))
            parts += plot(points, curve, names, colours, y + 14)
            y += PLOT + GAP - 20
    height = y + MARGIN
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            f'role="img" aria-label="How the cost of {escape(", ".join(names))} grows">\n<style>{STYLE}{LINES}</style>\n'
            f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def plot(points, curve, names, colours, top):
    left, right, bottom = MARGIN + LEFT, WIDTH - MARGIN - 10, top + PLOT
    medians = [cell["median"] for row in points for cell in row["cells"].values() if cell.get("median", 0) > 0]
    if not medians:
        return [text(left, top + 20, "nothing was measured", "failed")]
    low, high = math.log10(min(medians)) - 0.05, math.log10(max(medians)) + 0.05
    first, last = math.log10(points[0]["at"]), math.log10(points[-1]["at"])

    def across(at):
        return left + 10 + (math.log10(at) - first) / ((last - first) or 1) * (right - left - 20)

    def up(value):
        return bottom - (math.log10(value) - low) / (high - low) * PLOT

    parts = []
    for value in steps(low, high):
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>')
        parts.append(text(left - 8, up(value) + 4, figure(value), "quiet", "end"))
    for row in points:
        label = short(row["at"]) if "bytes" in curve["along"] else f"{row['at']:,}"
        parts.append(text(across(row["at"]), bottom + 18, label, "quiet", "middle"))
    parts.append(text(right, bottom + 34, curve["along"], "quiet", "end"))
    for name in names:
        there = [(across(row["at"]), up(row["cells"][name]["median"])) for row in points
                 if row["cells"].get(name, {}).get("median", 0) > 0]
        along = " ".join(f"{x:.1f},{y:.1f}" for x, y in there)
        parts.append(f'<polyline class="line" stroke="{colours[name]}" points="{along}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colours[name]}"/>' for x, y in there]
    return parts


def steps(low, high):
    """Round numbers between two powers of ten, few enough to be read."""
    of = (1, 2, 5) if high - low < 1.6 else (1,)
    values = [digit * 10.0 ** power for power in range(math.floor(low), math.ceil(high) + 1) for digit in of]
    return [value for value in values if low <= math.log10(value) <= high]
