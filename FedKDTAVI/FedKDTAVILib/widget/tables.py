"""Filling a QTableWidget with rows of text."""

from __future__ import annotations

from collections.abc import Sequence

import qt


def setColumns(table, stretch: Sequence[int]) -> None:
    """Columns ``stretch`` share what the others, which are as wide as their texts, leave."""
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        mode = qt.QHeaderView.Stretch if column in stretch else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)


def fillTable(
    table, rows: Sequence[Sequence[str]], tips: Sequence[str] = (), bold: Sequence[bool] = (), wrap: bool = True
) -> None:
    """Show ``rows``; cells that are there already only change their text, so that a selection stays.

    Args:
        table: QTableWidget with as many columns as each row has cells.
        rows: texts.
        tips: tooltip of each row; default: its cells' own texts.
        bold: is a row printed bold?
        wrap: give each row the height that its text needs.
    """
    table.setRowCount(len(rows))
    for line, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = table.item(line, column)
            if item is None:
                item = qt.QTableWidgetItem()
                table.setItem(line, column, item)
            item.setText(text)
            item.setToolTip(tips[line] if line < len(tips) else text)
            font = item.font()
            font.setBold(bool(bold[line]) if line < len(bold) else False)
            item.setFont(font)
    if wrap:
        table.resizeRowsToContents()
