"""Curves and the accuracy-latency plot as SVG that takes text colour and font from the page around it."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.runs import Run

# told apart with every common colour blindness, on white and on black: Okabe-Ito without black and yellow, then Tol's "muted"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933")
MARKERS = "osD^vPX"
DASHES = ("solid", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
FLOOR_COLOUR = "#8a8f98"
INK = "#010203"  # a stand-in that becomes currentColor
WIDTH = 18.0  # inches of 72 px: as wide as the page, so that its text has the page's size
LOOK = {
    "svg.fonttype": "none",  # the page's font draws the text: nothing is embedded, and words can be searched
    "svg.hashsalt": "report",  # same inputs, same ids
    "font.family": ["DejaVu Sans"],
    "font.size": 13,
    "axes.titlesize": 14,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str
    dash: str | tuple


def method_styles(runs: Sequence[Run]) -> dict[str, Style]:
    """Key -> colour, marker and dash, the same in all figures; beyond eight methods the marker and dash tell them apart."""
    styles = {}
    skilled = [run.key for run in runs if not run.is_floor]
    for index, key in enumerate(skilled):
        turn = index // len(COLOURS)
        styles[key] = Style(COLOURS[index % len(COLOURS)], MARKERS[turn % len(MARKERS)], DASHES[turn % len(DASHES)])
    for index, run in enumerate(run for run in runs if run.is_floor):
        styles[run.key] = Style(FLOOR_COLOUR, MARKERS[index % len(MARKERS)], DASHES[-1])
    return styles


def curves_figure(runs: Sequence[Run], styles: Mapping[str, Style]) -> str | None:
    """Loss (training and validation) and validation scores over the epochs; None where no run has a history."""
    trained = [run for run in runs if run.history]
    objects = " (dotted: mask AP)" if any("val_mask_ap" in epoch for run in trained for epoch in run.history) else ""
    if not trained:
        return None

    def paint(figure, loss, score):
        for run in trained:
            _curve(loss, run, "train_loss", styles[run.key], width=1.5, dash=(0, (1, 1.2)))
            _curve(loss, run, "val_loss", styles[run.key], width=2.2)
            _curve(score, run, "val_miou", styles[run.key], width=2.2)
            _curve(score, run, "val_mask_ap", styles[run.key], width=1.5, dash=(0, (1, 1.2)))
            _mark_best(score, run, styles[run.key])
        loss.set_title("Loss: solid on validation, dotted on training images", loc="left")
        score.set_title(f"mIoU{objects} on validation images; the mark is the epoch kept", loc="left")
        for axes in (loss, score):
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_ylim(bottom=0)

    return _svg("curves", paint, columns=2, height=5.0)


def latency_figure(runs: Sequence[Run], styles: Mapping[str, Style]) -> str | None:
    """mIoU against latency, with the line of methods that none beats in both; None with fewer than two such methods."""
    points = [
        (run.costs["latency_ms"], run.scores["miou"], run)
        for run in runs
        if run.costs.get("latency_ms") and run.scores.get("miou") is not None
    ]
    if len(points) < 2:
        return None

    def paint(figure, axes):
        front = _front([(latency, score) for latency, score, _ in points])
        axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color=INK, alpha=0.4, linewidth=1.2, linestyle=(0, (4, 3)))
        for latency, score, run in points:
            style = styles[run.key]
            axes.plot(latency, score, style.marker, color=style.colour, markersize=11, markeredgewidth=0)
        axes.set_xscale("log")
        axes.margins(x=0.12)
        axes.set_ylim(0, max(score for _, score, _ in points) * 1.2 + 0.01)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("latency per image, ms (logarithmic)")
        axes.set_ylabel("mIoU")
        figure.draw_without_rendering()  # lays the axes out, so that points have their places
        _label_points(axes, points)

    return _svg("latency", paint, columns=1, height=5.4)


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both, the quickest first.

    Examples
    --------
    >>> _front([(5.0, 0.6), (1.0, 0.2), (2.0, 0.1)])
    [(1.0, 0.2), (5.0, 0.6)]
    """
    front: list[tuple[float, float]] = []
    for latency, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((latency, score))
    return front


def _label_points(axes, points: Sequence[tuple[float, float, Run]]) -> None:
    """Write each name above its point, or at the first place around it where it covers no other name and no point."""
    transform = axes.transData.transform
    marks = [transform((latency, score)) for latency, score, _ in points]
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in marks]
    for (x, y), (latency, score, run) in zip(marks, points, strict=True):
        width, height = 8.2 * len(run.key), 16  # px of the text, on the safe side
        side = width / 2 + 13
        places = [(0, 18), (0, -18), (side, 0), (-side, 0), (side, 18), (-side, 18), (side, -18), (0, 36), (0, -36), (0, 54)]
        boxes = [(x + dx - width / 2, y + dy - height / 2, x + dx + width / 2, y + dy + height / 2) for dx, dy in places]
        inside = [n for n, box in enumerate(boxes) if box[0] > axes.bbox.x0 and box[2] < axes.bbox.x1 and box[1] > axes.bbox.y0]
        free = next((n for n in inside if not any(_overlap(boxes[n], other) for other in taken)), 0)
        taken.append(boxes[free])
        centred = {"textcoords": "offset points", "ha": "center", "va": "center", "alpha": 0.6 if run.is_floor else 1}
        axes.annotate(run.key, (latency, score), places[free], **centred).set_in_layout(False)


def _overlap(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _curve(axes, run: Run, quantity: str, style: Style, *, width: float, dash=None) -> None:
    known = [epoch for epoch in run.history if quantity in epoch]
    axes.plot(
        [epoch["epoch"] for epoch in known],
        [epoch[quantity] for epoch in known],
        color=style.colour,
        linewidth=width,
        linestyle=dash or style.dash,
        marker=style.marker if len(known) == 1 else None,  # a line of one point would not be seen
    )


def _mark_best(axes, run: Run, style: Style) -> None:
    for epoch in run.history:
        if epoch["epoch"] == run.model.get("best_epoch") and "val_miou" in epoch:
            axes.plot(epoch["epoch"], epoch["val_miou"], marker=style.marker, color=style.colour, markersize=8)


def _svg(name: str, paint: Callable, *, columns: int, height: float) -> str:
    """Call `paint(figure, *axes)` and return an <svg> element: no addresses, ids of its own, text in the page's colour."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH, height), dpi=72, layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        for one in axes:
            one.grid(color=INK, alpha=0.12, linewidth=0.8)
            one.set_axisbelow(True)
        paint(figure, *axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    body = text[text.index("<g id=") : text.rindex("</svg>")]  # after the XML header, the metadata and a style for all the page
    body = re.sub(r'\bid="', f'id="{name}-', body.replace("xlink:href", "href"))
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    body = body.replace(INK, "currentColor").replace("'DejaVu Sans'", "system-ui, sans-serif")
    return f'<svg viewBox="0 0 {WIDTH * 72:g} {height * 72:g}" role="img" aria-label="{name}">{body}</svg>'
