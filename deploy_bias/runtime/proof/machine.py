"""The machine that runs a bundle, as a report names it. No torch here."""

import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FEATURES = {
    "AVX2": "avx2",
    "FMA": "fma",
    "AVX512": "avx512f",
    "AVX512-VNNI": "avx512_vnni",
    "AVX-VNNI": "avx_vnni",
    "AMX-INT8": "amx_int8",
    "NEON": "asimd",
    "FP16": "asimdhp",
    "dotprod": "asimddp",
    "i8mm": "i8mm",
    "SVE": "sve",
    "SME": "sme",
    "SME2": "sme2",
}
"""What the kernels of the runtimes are chosen by, and what Linux calls it."""
APPLE = {
    "NEON": "hw.optional.neon",
    "FP16": "hw.optional.arm.FEAT_FP16",
    "dotprod": "hw.optional.arm.FEAT_DotProd",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
    "SME": "hw.optional.arm.FEAT_SME",
    "SME2": "hw.optional.arm.FEAT_SME2",
    "AVX2": "hw.optional.avx2_0",
    "AVX512": "hw.optional.avx512f",
}


@dataclass(frozen=True)
class Machine:
    """system: such as "Linux x86_64". processor: its name. features: as `FEATURES` names them;
    None where the system does not tell."""

    system: str
    processor: str
    features: tuple[str, ...] | None

    def __str__(self) -> str:
        told = ", ".join(self.features) if self.features else "none known"
        if self.features is None:
            told = "not told by the system"
        return f"{self.processor}, {self.system}, features: {told}"


def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    system = f"{platform.system()} {platform.machine()}"
    if sys.platform == "linux":
        return Machine(system, *_linux(_read(Path("/proc/cpuinfo"))))
    if sys.platform == "darwin":
        return Machine(system, *_apple(_sysctl()))
    return Machine(system, platform.processor() or "a processor without a name", None)


def _linux(text: str) -> tuple[str, tuple[str, ...] | None]:
    fields = {
        key.strip(): value.strip()
        for key, value in (line.split(":", 1) for line in text.splitlines() if ":" in line)
    }
    flags = fields.get("flags", fields.get("Features"))
    part = " ".join(fields[key] for key in ("CPU implementer", "CPU part") if key in fields)
    name = fields.get("model name") or (
        f"ARM part {part}" if part else "a processor without a name"
    )
    if flags is None:
        return name, None
    words = set(flags.split())
    return name, tuple(label for label, flag in FEATURES.items() if flag in words)


def _apple(text: str) -> tuple[str, tuple[str, ...] | None]:
    fields = dict(re.findall(r"^([\w.]+): (.*)$", text, re.MULTILINE))
    name = fields.get("machdep.cpu.brand_string", "a processor without a name")
    return name, tuple(label for label, key in APPLE.items() if fields.get(key) == "1")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _sysctl() -> str:
    command = ["/usr/sbin/sysctl", "-a"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
