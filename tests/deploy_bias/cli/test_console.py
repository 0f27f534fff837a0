"""What the commands share: tables that fit the terminal, or lines."""

import io

import pytest
from rich.table import Table

from deploy_bias.cli import console


@pytest.fixture
def table():
    table = Table(title="Parity", caption="of all")
    for heading in ("graph", "a heading of some words", "verdict"):
        table.add_column(heading)
    table.add_row("encoder_of_a_long_name", "1.10", "[green]pass[/]")
    return table


def printed(table, width, monkeypatch):
    screen = console.Console(width=width, record=True, file=io.StringIO())
    monkeypatch.setattr(console, "out", screen)
    console.print_table(table)
    return screen.export_text().splitlines()


def test_a_table_where_there_is_room(table, monkeypatch):
    lines = printed(table, 80, monkeypatch)
    assert "┃ graph" in lines[2]
    assert max(map(len, lines)) <= 80


def test_lines_where_a_word_would_break(table, monkeypatch):
    assert printed(table, 42, monkeypatch) == [
        "Parity",
        "encoder_of_a_long_name, a heading of some ",
        "words 1.10, verdict pass",
        "of all",
    ]
