"""Every example of a page is run, in order, and says what the page says but for the digits.

A python block that begins with the name of a file is written there; a text block is what the block
before it prints; a console block is a command and lines of its output, in order.
"""

import re
import shlex
import sys
from pathlib import Path

import pytest

PAGES = ("files.md", "failures.md", "dynamic-shapes.md", "precision.md")
DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]\d+)?")


def plain(text):
    return [NUMBER.sub("#", line.strip()) for line in text.splitlines() if line.strip()]


def assert_in_order(wanted, got):
    lines = iter(got)
    for line in wanted:
        assert any(line in one for one in lines), (line, got)


@pytest.mark.parametrize("name", PAGES)
def test_page(name, run, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "models", raising=False)
    blocks = BLOCK.findall((DOCS / name).read_text())
    space: dict = {"__name__": name}
    printed = ""
    for kind, text in blocks:
        if kind == "python" and text.startswith("# models.py"):
            (tmp_path / "models.py").write_text(text.partition("\n")[2])
        elif kind == "python":
            capfd.readouterr()
            exec(compile(text, name, "exec"), space)
            printed = capfd.readouterr().out
        elif kind == "text":
            assert plain(printed) == plain(text)
        else:
            assert kind == "console"
            command, *wanted = plain_command(text)
            status, out, _ = run(*command)
            assert status == ("differ" in text)
            assert_in_order(wanted, plain(out))


def plain_command(text):
    first, _, rest = text.partition("\n")
    words = shlex.split(first.removeprefix("$ deploy-bias "))
    return words, *plain(rest)
