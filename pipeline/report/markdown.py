"""The comparison as a Markdown table, to paste into a README, an issue or a paper's draft."""

from collections.abc import Sequence

from pipeline.report.tables import COSTS, DASH, Row, Table

MOST_GROUPS = 4  # more of them, such as one per image, make no column each
BUSY = "†"


def markdown_table(table: Table, *, classes: Sequence[str] = ()) -> str:
    """One line per method: mIoU, its interval, that of groups and over seeds, the chief other scores, costs; the best bold.

    Parameters
    ----------
    classes : their IoU gets a column each, in place of the costs
    """
    groups = list(dict.fromkeys(group for row in table.rows for group in row.run.group_miou))
    groups = groups if 1 < len(groups) <= MOST_GROUPS else []
    places = {column.key: index for index, column in enumerate(table.columns)}
    keys = ["miou", "miou_over_seeds", "pixel_accuracy", "mask_ap", "mask_ap50", "pq"]
    keys += [] if classes else [column.key for column in COSTS]
    titles = [table.columns[places[key]].title for key in keys if key in places]
    lines = [["Method", *titles[:1], "95 % interval", *groups, *titles[1:], *classes]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in table.rows:
        first, *others = (_cell(row, places[key]) for key in keys if key in places)
        interval = str(row.estimate.interval) if row.estimate else DASH
        lines.append(
            [
                f"`{row.run.key}`",
                first,
                interval,
                *(_group(row, group) for group in groups),
                *others,
                *(_class(row, name) for name in classes),
            ]
        )
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{text}\n\n{BUSY} measured while the machine was busy\n" if BUSY in text else f"{text}\n"


def _cell(row: Row, place: int) -> str:
    cell = row.cells[place]
    text = cell.text + (f" {BUSY}" if cell.note else "")
    return f"**{text}**" if cell.is_best else text


def _class(row: Row, name: str) -> str:
    if name not in row.run.class_iou:
        raise ValueError(f"--classes: there is no class {name!r}; choose of: {', '.join(row.run.class_iou)}")
    value = row.run.class_iou[name]
    return DASH if value is None else f"{value:.3f}"


def _group(row: Row, group: str) -> str:
    value = row.run.group_miou.get(group)
    return DASH if value is None else f"{value:.3f}"
