"""A user's own test, as the README has it."""

import pytest
import torch

from deploy_bias.runtime.backends import BACKENDS, unmet
from deploy_bias.testing import assert_export_parity


class Step(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = torch.nn.GRUCell(8, 12)
        self.out = torch.nn.Linear(12, 5)

    def forward(self, x, hidden):
        hidden = self.cell(x, hidden)
        return {"logits": self.out(hidden), "next_hidden": hidden}


@pytest.mark.parametrize("backend", BACKENDS)
def test_export(backend):
    if why := unmet(backend):
        pytest.skip(why)
    example = (torch.randn(1, 8), torch.zeros(1, 12))
    assert_export_parity(
        Step(), example, state={"hidden": "next_hidden"}, steps=20, backends=[backend]
    )
