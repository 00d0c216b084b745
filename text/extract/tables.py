"""Normalises tables whose cells span rows or columns, so that every cell stands in its own column."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_COLUMNS = 500
_LONGEST_REPEATED = 200


@dataclass(slots=True)
class Cell:
    """A cell, whose text grows while it is read."""

    text: str = ""

    def add(self, text: str) -> None:
        self.text = f"{self.text} {text}" if self.text else text


@dataclass(slots=True)
class Grid:
    """A table, row by row. A cell that spans rows is repeated in each, so that a row can be understood by itself; one
    that spans columns is in the first of them, and the others are empty.
    """

    _rows: list[list[Cell]] = field(default_factory=list)
    _tall: dict[int, tuple[int, Cell]] = field(default_factory=dict)
    """By column: the last row of a cell that spans rows, and the cell."""

    def begin_row(self) -> None:
        self._fill_to_end()
        self._rows.append([])

    def end_group(self) -> None:
        """Ends all cells: none spans row groups."""
        self._fill_to_end()
        self._tall.clear()

    def add_cell(self, text: str = "", *, columns: int = 1, rows: int = 1) -> Cell:
        """Adds a cell to the row, in the next column that no cell from above covers."""
        if not self._rows:
            self.begin_row()
        self._fill()
        row, cell = self._rows[-1], Cell(text)
        wide = min(columns, MAX_COLUMNS - len(row))
        for part in (cell, *(Cell() for _ in range(wide - 1))):
            if rows > 1:
                self._tall[len(row)] = len(self._rows) + rows - 2, part
            row.append(part)
        return cell

    def skip(self, columns: int) -> None:
        """Skips columns that have no cell in this row."""
        self._rows[-1] += [Cell() for _ in range(min(columns, MAX_COLUMNS))]

    def continue_cell(self, *, columns: int = 1) -> None:
        """Adds a cell that is merged into the one above it, as Word and PowerPoint write it."""
        column, above = len(self._rows[-1]), self._rows[-2] if len(self._rows) > 1 else []
        if column < len(above):
            self._rows[-1].append(above[column])
            self.skip(columns - 1)
        else:
            self.skip(columns)

    def texts(self) -> list[list[str]]:
        self._fill_to_end()
        return [self._texts_of(number) for number in range(len(self._rows))]

    def _texts_of(self, number: int) -> list[str]:
        """Returns the texts of a row; long ones are not repeated."""
        above = self._rows[number - 1] if number else []
        return [
            "" if len(cell.text) > _LONGEST_REPEATED and column < len(above) and above[column] is cell else cell.text
            for column, cell in enumerate(self._rows[number])
        ]

    def _fill(self) -> None:
        row = self._rows[-1]
        while (cell := self._from_above(len(row))) is not None:
            row.append(cell)

    def _fill_to_end(self) -> None:
        if not self._rows or not self._tall:
            return
        row, last = self._rows[-1], max(self._tall)
        while len(row) <= last:
            row.append(self._from_above(len(row)) or Cell())

    def _from_above(self, column: int) -> Cell | None:
        last_row, cell = self._tall.get(column, (-1, None))
        return cell if last_row >= len(self._rows) - 1 else None
