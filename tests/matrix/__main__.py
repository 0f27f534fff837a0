"""The wheel beside the versions that users have: python -m tests.matrix [SET ...].

Each set is an environment of its own in a folder without our sources, where a user's test and
the demo (without [export]: export, verify and transcribe) must pass. Needs nothing but pip.
Exit status 1 if one fails.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "deploy_bias/data/digits"
SHOWN = ("torch", "executorch", "onnxruntime", "onnxscript", "numpy")


@dataclass(frozen=True)
class Set:
    """What is there first, what of the wheel comes on top, and by which versions."""

    extras: str
    pins: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    demo: bool = True


def floors() -> list[str]:
    """Return the oldest versions that pyproject.toml allows, as pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["audio"], *extras["recognizer"]]
    wanted += [*extras["report"], *extras["onnxruntime"], *extras["onnx"]]
    return [
        f"{found[1]}=={found[2]}.*"
        for text in wanted
        if (found := re.fullmatch(r"([\w-]+)>=([\d.]+)", text))
    ]


SETS = {
    # ExecuTorch's oldest has a newer torch: that is "pinned".
    "lowest": Set("audio,onnx,report", pins=tuple(floors())),
    "pinned": Set("export", pins=("--constraint", str(ROOT / "constraints.txt"))),
    "newest": Set("export"),
    "own": Set("onnx,audio", there=("torch==2.11.0",), demo=False),
}


def main() -> None:
    """Run the sets that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="default: all")
    parser.add_argument("--folder", type=Path, default=ROOT / ".matrix")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", options.folder, ROOT], check=True)
    (wheel,) = options.folder.glob("deploy_bias-*.whl")
    rows = []
    for name in options.sets or SETS:
        rows.append(_run(name, wheel, options.folder / name))
        print(rows[-1], flush=True)
    python = ".".join(map(str, sys.version_info[:2]))
    heads = ("set", *SHOWN, "environment", "result")
    print(f"\nPython {python}\n\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.exit(any(row[-1].startswith("FAIL") for row in rows))


def _run(name: str, wheel: Path, folder: Path) -> tuple[str, ...]:
    """Return a row of the table; the environment is gone after."""
    chosen = SETS[name]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(Path(__file__).parent / "project", folder / "project")
    python = folder / "venv/bin/python"
    begun = time.perf_counter()
    try:
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        install = [python, "-m", "pip", "install", "--quiet"]
        if chosen.there:
            subprocess.run([*install, *chosen.there], check=True)
        before = _versions(python)
        subprocess.run([*install, f"{wheel}[{chosen.extras}]", "pytest", *chosen.pins], check=True)
        versions = _versions(python)
        changed = [p for p in before if p == "torch" and versions[p] != before[p]]
        size = sum(f.lstat().st_size for f in (folder / "venv").rglob("*") if f.is_file())
        about = (*(versions.get(package, "-") for package in SHOWN), f"{size / 1e6:,.0f} MB")
        if changed:
            return (name, *about, f"FAIL: torch {before['torch']} was replaced")
        try:
            _prove(python, folder / "project", chosen.demo)
        except subprocess.CalledProcessError as error:
            return (name, *about, f"FAIL: {' '.join(map(str, error.cmd[1:3]))}")
        return (name, *about, f"pass, {time.perf_counter() - begun:.0f} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prove(python: Path, project: Path, demo: bool) -> None:
    command = python.with_name("deploy-bias")
    steps = [[python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_step.py"]]
    if demo:
        steps.append([command, "demo"])
    else:
        recording = DIGITS / "wavs/digits_55.wav"
        steps += [
            [command, "export", DIGITS, "--backend", "onnx", "-o", "digits"],
            [command, "verify", "digits"],
            [command, "transcribe", "digits", recording],
        ]
    for step in steps:
        subprocess.run(step, cwd=project, check=True)


def _versions(python: Path) -> dict[str, str]:
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "freeze"],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(line.split("==") for line in listed.stdout.splitlines() if "==" in line)


if __name__ == "__main__":
    main()
