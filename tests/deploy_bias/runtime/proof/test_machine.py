"""What a machine tells of its processor."""

import pytest

from deploy_bias.runtime.proof import machine
from deploy_bias.runtime.proof.machine import this_machine

X86 = """processor : 0
model name : A Processor 7
flags : fpu sse2 avx2 fma avx512f avx512_vnni
"""
ARM = """processor : 0
Features : fp asimd asimdhp asimddp i8mm sve sme
CPU implementer : 0x41
CPU part : 0xd4f
"""
APPLE = """machdep.cpu.brand_string: Apple M4
hw.optional.neon: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_SVE: 0
hw.optional.arm.FEAT_SME: 1
"""


@pytest.mark.parametrize(
    ("platform", "text", "name", "features"),
    [
        ("linux", X86, "A Processor 7", ("AVX2", "FMA", "AVX512", "AVX512-VNNI")),
        ("linux", ARM, "ARM part 0x41 0xd4f", ("NEON", "FP16", "dotprod", "i8mm", "SVE", "SME")),
        ("linux", "", "a processor without a name", None),
        ("darwin", APPLE, "Apple M4", ("NEON", "dotprod", "SME")),
        ("darwin", "", "a processor without a name", ()),
    ],
)
def test_features(monkeypatch, platform, text, name, features):
    monkeypatch.setattr(machine.sys, "platform", platform)
    monkeypatch.setattr(machine, "_read", lambda path: text)
    monkeypatch.setattr(machine, "_sysctl", lambda: text)
    found = this_machine()
    assert (found.processor, found.features) == (name, features)


def test_this_one():
    assert str(this_machine())
