"""The command as a user and a CI job see it: help, exit status, one line an error."""

import importlib
import subprocess
import sys

import pytest

from deploy_bias.export import cli

HELP = """
import sys
from deploy_bias.export.cli import main
sys.argv = ["deploy-bias", "--help"]
try:
    main()
finally:
    assert not {"numpy", "pydantic", "rich.progress", "torch"} & set(sys.modules)
"""
WITHOUT = """
import sys
sys.modules[{package!r}] = None  # what `pip install` would bring
sys.argv = ["deploy-bias", *{arguments!r}]
from deploy_bias.export.cli import main
main()
"""


def test_help_imports_no_command():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_helps_itself(run, name):
    module, summary = cli.COMMANDS[name]
    status, out, _ = run(name, "--help")
    assert status == 0
    assert summary.split(":")[0].split(",")[0] in " ".join(out.split())
    assert importlib.import_module(module).run.__doc__


@pytest.mark.parametrize(
    ("package", "arguments", "line"),
    [
        ("torch", ["export", "nowhere"], "needs torch, which cannot be imported"),
        ("torch", ["verify", "{bundle}"], "pip install 'deploy-bias[export]', or [onnx]"),
        ("yaml", ["export", "{digits}"], "needs yaml, which cannot be imported"),
        ("onnxruntime", ["transcribe", "{bundle}", "x.wav"], "'deploy-bias[onnxruntime]'"),
        ("av", ["evaluate", "{bundle}", "{recordings}"], "'deploy-bias[audio]'"),
        ("matplotlib", ["inspect", "{bundle}", "--plot", "x.png"], "'deploy-bias[report]'"),
        ("jinja2", ["verify", "{bundle}", "--report", "x.html"], "'deploy-bias[report]'"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_pip_line(
    digits, digits_bundle, tmp_path, package, arguments, line
):
    recordings = digits / "wavs" / "TRANSCRIPTS.tsv"
    places = {"digits": digits, "bundle": digits_bundle.folder, "recordings": recordings}
    code = WITHOUT.format(package=package, arguments=[a.format(**places) for a in arguments])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "not foreseen" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nowhere"], "nowhere: no such file or folder"),
        (["export"], "no checkpoint given"),
        (["verify", "nowhere"], "nowhere: is not a folder; expected a bundle"),
        (["inspect", "nowhere"], "nowhere: is not a folder; expected a bundle"),
        (["export", "{digits}", "--backend", "tflite"], "backend 'tflite' is unknown"),
        (["export", "{digits}", "--key-length", "129"], "--key-length must be 1 to 128"),
        (["export", "{digits}", "--dynamic", "--backend", "executorch"], "add --backend onnx"),
        (["inspect", "{bundle}", "--plot", "x.xyz"], "end it in .png"),
        (["decode", "{bundle}", "nowhere.npy"], "nowhere.npy: no such file"),
        (["decode", "nowhere", "{frames}"], "nowhere: is not a folder; expected a bundle"),
        (["decode", "{bundle}", "{frames}", "--beam-size", "2"], "add --search default"),
        (["decode", "{bundle}", "{frames}", "--nbest", "3"], "the greedy search has one result"),
        (["decode", "{bundle}", "{frames}", "--search", "beam"], "search 'beam' is unknown"),
        (
            ["decode", "{bundle}", "{frames}", "--search", "maes", "--beam-size", "13"],
            "beam_size + expansion_beta must be at most the number of labels, 14, got 13 + 2",
        ),
        (["verify", "x" * 300], "cannot be read (File name too long)"),
        (["inspect", "x" * 300], "xxx: file name too long; name another path"),
        (["export", "x" * 300], "xxx: file name too long; name another path"),
        (["decode", "{bundle}", "x" * 300], "xxx: file name too long; expected a .npy"),
        (["verify"], "Missing argument"),
        (["inspect", "{bundle}", "--nope"], "No such option"),
        (["verify", "{bundle}", "--report", "r.txt"], "ends in .xml, .md, .json, .html"),
        (["verify", "{bundle}", "--baseline", "p.json"], "No such file or directory"),
        (["verify", "{bundle}", "--without", "tflite"], "the bundle has executorch, onnx, torch"),
        (
            ["verify", "{bundle}", "--without", "onnx,torchscript,executorch"],
            "nothing is left to verify",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_status_2(
    run, digits, digits_bundle, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    frames = digits / "encoder_out" / "prompts_0.npy"
    places = {"digits": digits, "bundle": digits_bundle.folder, "frames": frames}
    status, _, err = run(*[argument.format(**places) for argument in arguments])
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert "not foreseen" not in err
    assert not any(tmp_path.iterdir())


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["deploy-bias", "verify", str(tmp_path), "--debug"])
    with pytest.raises(Exception, match=r"holds no manifest\.json"):
        cli.main()


def test_an_error_nobody_foresaw_is_still_one_line(run, monkeypatch, digits_bundle):
    def fail(folder):
        raise ZeroDivisionError("what")

    monkeypatch.setattr("deploy_bias.export.cli.verify.Bundle", fail)
    status, _, err = run("verify", digits_bundle.folder)
    assert status == 2
    assert err == "error: ZeroDivisionError: what (not foreseen; --debug shows where)\n"
