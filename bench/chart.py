"""The table as a bar chart: SVG by hand, readable on light and dark pages."""

from html import escape

from report import figure

WIDTH, LABEL, MARGIN = 860, 150, 24
BAR, GAP, ROW_GAP, TITLE = 14, 4, 18, 22
COLOURS = {"nginx-article": "#8a919c", "nginx-tuned": "#3b82c4", "haproxy": "#3f9c6b", "caddy": "#9a6fc4",
           "farmgate": "#d9822b", "farmgate-bare": "#e8b988"}
OTHERS = ["#b8504f", "#5f7d8c", "#a08a2e"]

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .card { fill: #ffffff; stroke: #d0d7de } .quiet { fill: #59636e } .head { font-weight: 600 }
  .spread { stroke: #1f2328; stroke-width: 1.5 } .failed { fill: #c0392b }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .card { fill: #0d1117; stroke: #30363d } .quiet { fill: #9198a1 }
    .spread { stroke: #e6edf3 } .failed { fill: #ff7b72 }
  }
"""


def svg(run):
    """Each line of the table has a scale of its own, since units differ: its longest bar fills the width."""
    names = [name for name, peer in run["peers"].items() if peer["status"] == "measured"]
    colours = colours_of(names)
    parts, y = [], MARGIN + 14
    parts.append(text(MARGIN, y, "Cost per unit of work: shorter is better", "head"))
    y += 18
    parts.append(text(MARGIN, y, f"median of {run['rounds']} rounds, the line is lowest to highest; "
                                 f"{run['machine']['cpu']}, {run['mode']} run", "quiet"))
    y += ROW_GAP + 6
    for row in run["rows"]:
        y += TITLE - 8
        parts.append(text(MARGIN, y, f"{row['title']}, {row['unit']}", "head"))
        y += 8
        longest = max([cell["max"] for cell in row["cells"].values() if "max" in cell], default=0) or 1
        scale = (WIDTH - 2 * MARGIN - LABEL - 80) / longest
        for name in names:
            parts += bar(row["cells"][name], name, colours[name], scale, y)
            y += BAR + GAP
        y += ROW_GAP
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img" '
            f'aria-label="CPU and memory cost of {escape(", ".join(names))}">\n<style>{STYLE}</style>\n'
            f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{y - 1}" rx="8"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def colours_of(names):
    others = iter(OTHERS * len(names))
    return {name: COLOURS.get(name) or next(others) for name in names}


def bar(cell, name, colour, scale, y):
    left, base = MARGIN + LABEL, y + BAR - 3
    parts = [text(left - 10, base, name, "quiet", "end")]
    if "absent" in cell:
        return [*parts, text(left, base, cell["absent"], "quiet")]
    if "failed" in cell:
        return [*parts, text(left, base, "failed", "failed")]
    length, low, high = (max(0, cell[key]) * scale for key in ("median", "min", "max"))
    middle = y + BAR / 2
    return [
        *parts,
        f'<rect x="{left}" y="{y}" width="{max(1, length):.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
        f'<line class="spread" x1="{left + low:.1f}" x2="{left + high:.1f}" y1="{middle}" y2="{middle}"/>',
        text(left + max(length, high) + 8, base, figure(cell["median"])),
    ]


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'
