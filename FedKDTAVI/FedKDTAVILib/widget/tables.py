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
    table,
    rows: Sequence[Sequence[str]],
    tips: Sequence[str] = (),
    bold: Sequence[bool] = (),
    colors: Sequence[tuple[float, float, float]] = (),
) -> None:
    """Show ``rows``; cells that are there already only change their text, so that a selection stays.

    Args:
        table: QTableWidget with as many columns as each row has cells.
        rows: texts.
        tips: tooltip of each row; default: its cells' own texts.
        bold: is a row printed bold?
        colors: RGB 0..1 of the mark before each row.
    """
    table.setRowCount(len(rows))
    for line, cells in enumerate(rows):
        for column, text in enumerate(cells):
            item = _item(table, line, column)
            item.setText(text)
            item.setToolTip(tips[line] if line < len(tips) else text)
            font = item.font()
            font.setBold(bool(bold[line]) if line < len(bold) else False)
            item.setFont(font)
        if line < len(colors):
            # A colour as decoration is drawn as a small square.
            mark = qt.QColor.fromRgbF(*colors[line])
            _item(table, line, 0).setData(qt.Qt.DecorationRole, mark)
    if table.wordWrap:
        table.resizeRowsToContents()


def spanHeadings(table, headings: Sequence[bool]) -> None:
    """Rows that are headings fill the table's width and cannot be selected."""
    table.clearSpans()
    for line, isHeading in enumerate(headings):
        if isHeading:
            table.setSpan(line, 0, 1, table.columnCount)
        flags = qt.Qt.ItemIsEnabled if isHeading else qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
        for column in range(table.columnCount):
            _item(table, line, column).setFlags(flags)
    table.resizeRowsToContents()


def alignRight(table, column: int) -> None:
    """Numbers of a column stand under each other."""
    for line in range(table.rowCount):
        _item(table, line, column).setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)


def _item(table, line: int, column: int):
    item = table.item(line, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(line, column, item)
    return item
