"""Files are written whole or not at all, and what cannot be written is told before the work."""

import os

import pytest

from deploy_bias.errors import OptionError
from deploy_bias.files import check_writable, write_whole


def test_folders_are_made_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    check_writable(path, "--report")
    assert list(path.parent.iterdir()) == []
    write_whole(path, "häh")
    assert path.read_text(encoding="utf-8") == "häh"
    assert list(path.parent.iterdir()) == [path]


def test_what_stood_there_stays_until_all_is_written(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("old")
    check_writable(path, "--report")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \udc80")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["folder", "file/c.txt"])
def test_what_cannot_be_written(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=rf"--report .*{path}: cannot be written"):
        check_writable(tmp_path / path, "--report")


def test_a_pipe_is_written_to(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(path, "text")
        assert os.read(reader, 9) == b"text"
    finally:
        os.close(reader)
