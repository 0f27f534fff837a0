"""make parity-arm64: a bundle's ONNX and ExecuTorch graphs on an emulated 64-bit Arm processor.

The same cases run here and under qemu, each side carrying its own state; every output and next
state of every step is compared. Graphs that only move and add data must be equal to the bit, others
in float32 to 1e-5 of the largest value. Quantised graphs round what they are fed, so a last bit can
become a step of the quantisation: they must prefer the same labels, as in
`deploy_bias.export.parity.agreement`.

It is Arm64 Linux with glibc under qemu: a phone's instruction set and NEON kernels, but not a
phone.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from deploy_bias.bundle import Bundle
from deploy_bias.export.parity.agreement import REQUIRED
from tests.arm64.plan import make_plan

NEAR = 1e-5
SPREAD = {"int8": 0.02, "int4": 0.05}
"""How far the root mean square may be off; measured are 1.0 % and 2.1 %."""
HERE = Path(__file__).parent
PYTHON = "python3.13"


@dataclass(frozen=True)
class Result:
    """One graph on both processors.

    equal: the part of the elements that is equal to the bit.
    distance: the largest difference by the largest value of its output and case.
    spread: the root mean square of the difference by that of the output, the worst one.
    labels: how many preferred labels were compared, and agreed.
    """

    kind: str
    precision: str
    steps: int
    equal: float
    distance: float
    spread: float
    labels: tuple[int, int] | None

    @property
    def passed(self) -> bool:
        if self.kind == "bias":
            return self.equal == 1.0
        if self.precision == "fp32":
            return self.distance <= NEAR and (self.labels is None or self._share == 1.0)
        limit = SPREAD[self.precision]
        required = REQUIRED[self.precision] or 0.0  # type: ignore[index]
        return np.isfinite(self.spread) and (self._share >= required and self.spread <= limit)

    @property
    def _share(self) -> float:
        compared, agreed = self.labels or (1, 1)
        return agreed / max(compared, 1)


def compare(graph: dict, precision: str, here: dict, there: dict) -> Result:
    """Compare the arrays of one graph, by CASE/OUTPUT."""
    equal, total, distance, spread = 0, 0, 0.0, 0.0
    compared = agreed = 0
    for key, expected in here.items():
        got = there[key]
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise RuntimeError(f"{key}: {got.dtype} {got.shape}, {expected.dtype} {expected.shape}")
        equal += int((got.view(np.uint32) == expected.view(np.uint32)).sum())
        total += got.size
        finite = np.isfinite(expected)
        if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
            distance = spread = np.inf
            continue
        difference = np.abs(got[finite].astype(np.float64) - expected[finite])
        difference[np.isnan(difference)] = np.inf
        sizes = np.abs(expected[finite].astype(np.float64))
        tiny = np.finfo(np.float32).tiny
        distance = max(distance, difference.max() / max(sizes.max(), tiny))
        spread = max(spread, np.linalg.norm(difference) / max(np.linalg.norm(sizes), tiny))
        if graph["kind"] == "joint":
            label, wanted = got.argmax(-1), expected.argmax(-1)
            counts = (label > 0) | (wanted > 0)
            compared += int(counts.sum())
            agreed += int((counts & (label == wanted)).sum())
    steps = sum(len(array) for key, array in here.items() if key.endswith(graph["outputs"][0]))
    labels = (compared, agreed) if graph["kind"] == "joint" else None
    return Result(graph["kind"], precision, steps, equal / total, distance, spread, labels)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.arm64", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("root", type=Path, help="the folder that root.sh makes")
    arguments = parser.parse_args()
    folder = arguments.root.resolve()
    plan, inputs = make_plan(Bundle(arguments.bundle))
    (folder / "plan.json").write_text(json.dumps(plan))
    np.savez(folder / "inputs.npz", **inputs)
    given = [str(folder / "plan.json"), str(folder / "inputs.npz")]
    found, seconds = {}, {}
    root = folder / "root"
    guest = {"PYTHONHOME": f"{root}/usr", "PYTHONPATH": f"{root}/opt/site"}
    emulator = [folder / "qemu-aarch64-static", "-cpu", "cortex-a76", "-L", root]
    for name, command, environment in (
        ("here", [sys.executable], None),
        ("arm64", [*emulator, root / "usr/bin" / PYTHON], guest),
    ):
        output = folder / f"{name}.npz"
        start = time.perf_counter()
        subprocess.run([*command, HERE / "run.py", *given, output], env=environment, check=True)
        seconds[name] = time.perf_counter() - start
        found[name] = dict(np.load(output))
    return show(plan, found["here"], found["arm64"], seconds)


def show(plan: list[dict], here: dict, there: dict, seconds: dict[str, float]) -> int:
    table = Table(
        title=f"Emulated Arm64 (cortex-a76) against {platform.machine()}",
        caption=f"{seconds['here']:.0f} s here, {seconds['arm64']:.0f} s emulated.\n"
        "Arm64 Linux with glibc under qemu: a phone's instruction set and NEON kernels, but "
        "not\nAndroid's C library, a phone's core detection, threads or speed.",
    )
    for heading in ("graph", "backend"):
        table.add_column(heading, no_wrap=True)
    for heading in ("steps", "equal to the bit", "largest difference", "rms", "labels"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    passed = []
    for artifact in plan:
        for graph in artifact["graphs"]:
            prefix = f"{artifact['backend']}/{artifact['precision']}/{graph['name']}/"
            own = {
                key.removeprefix(prefix): array
                for key, array in here.items()
                if key.startswith(prefix)
            }
            result = compare(
                graph, artifact["precision"], own, {key: there[prefix + key] for key in own}
            )
            passed.append(result.passed)
            table.add_row(
                graph["name"],
                f"{artifact['backend']} {artifact['precision']}",
                f"{result.steps:,}",
                f"{int(result.equal * 1000) / 10}%",
                f"{result.distance:.1e}",
                f"{result.spread:.1e}",
                "-" if result.labels is None else f"{result.labels[1]:,}/{result.labels[0]:,}",
                "[green]pass[/]" if result.passed else "[bold red]FAIL[/]",
            )
    Console(width=max(110, Console().width)).print(table)
    return 0 if passed and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
