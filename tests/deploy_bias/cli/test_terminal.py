"""What is written: every character shown, and an exit status that tells of the work."""

import pytest

from deploy_bias.cli.console import Screen
from deploy_bias.cli.terminal import one_line, shown
from tests.deploy_bias.cli.audio import encoded
from tests.deploy_bias.cli.test_transcribe import FIVES, command
from tests.espnet.speech import RATE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode ✓", "plain, ünïcode ✓"),
        ("two\nlines", "two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u009bred", r"\x9bred"),
        ("bell\a", r"bell\x07"),
        ("back\rto", r"back\rto"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("lat\udce9in", r"lat\udce9in"),
        ("zero\u200cwidth", "zero\u200cwidth"),  # Persian is written with it
    ],
)
def test_shown(text, expected):
    assert shown(text) == expected


def test_one_line():
    assert one_line(" two \n  lines\x1b\n") == r"two lines\x1b"


def test_a_screen_shows_what_a_table_and_a_text_hold(capsys):
    Screen().print("a\x1b]0;title\x9bb", markup=False)
    assert capsys.readouterr().out == "a\\x1b]0;title\\x9bb\n"


@pytest.mark.parametrize("options", [[], ["--json"], ["--stream"]])
@pytest.mark.parametrize(("name", "status"), [("short.wav", 0), ("missing.wav", 2)])
def test_a_reader_that_leaves_does_not_change_the_exit_status(
    digits_bundle, tmp_path, options, name, status
):
    """As `| head -0` does."""
    (tmp_path / "short.wav").write_bytes(encoded(FIVES, RATE, "wav"))
    files = [tmp_path / "short.wav", tmp_path / name]
    with command("transcribe", digits_bundle.folder, *files, *options) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == status, err
    assert b"Broken" not in err


def test_verify_tells_of_the_work_and_not_of_its_reader(dynamic_bundle):
    """As `verify BUNDLE | head -0` does; nothing of a library reaches the standard error."""
    with command("verify", dynamic_bundle.folder) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert all(line.startswith(("✓", " ")) for line in err.decode().splitlines() if line.strip())
