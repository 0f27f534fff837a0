"""TorchScript archives: the same bytes whatever a process traced before, and the same module."""

import io

import torch
from torch import nn

from deploy_bias.export.backends.torchscript_archive import canonical


class Adder(nn.Module):
    """A module of the same name as another's."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Scripted(nn.Module):
    """A module with scripted parts, of which some have no object."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _doubled(self.inner(x))


@torch.jit.script
def _doubled(x: torch.Tensor) -> torch.Tensor:
    return x * 2 if bool(x.sum() > 0) else x


def traced(module):
    x = torch.arange(8.0).view(2, 4)
    for _ in range(2):
        script = torch.jit.trace(module, (x,), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(script, buffer, _extra_files={"note": "kept"})
    return script, buffer.getvalue(), x


def test_the_same_bytes_whatever_was_traced_before():
    module = Adder().eval()
    _, first, _ = traced(module)
    _, second, _ = traced(module)
    assert first != second
    assert canonical(first) == canonical(second)


def test_another_model_has_other_bytes():
    assert canonical(traced(Adder().eval())[1]) != canonical(traced(Adder().eval())[1])


def test_the_module_and_its_files_are_the_same():
    for module in (Adder().eval(), Scripted().eval()):
        script, archive, x = traced(module)
        files = {"note": ""}
        loaded = torch.jit.load(io.BytesIO(canonical(archive)), _extra_files=files)
        torch.testing.assert_close(loaded(x), script(x), rtol=0, atol=0)
        torch.testing.assert_close(loaded(-x), script(-x), rtol=0, atol=0)
        assert loaded.state_dict().keys() == module.state_dict().keys()
        assert files["note"] in ("kept", b"kept")


def test_no_file_of_this_machine_is_named():
    _, archive, _ = traced(Adder().eval())
    assert __file__.encode() in archive or b"test_torchscript_archive" in archive
    assert b"test_torchscript_archive.py" not in canonical(archive)
