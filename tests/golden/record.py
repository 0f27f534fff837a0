"""Record what ESPnet itself computes, for tests and stress inputs that run without it.

    python tests/golden/record.py

writes tests/golden/*.safetensors and deploy_bias/data/scores.safetensors. `test_golden.py`
checks that the live oracle still gives the same.
"""

from pathlib import Path

import torch
import yaml
from espnet2.asr_transducer.decoder.blocks.mega import MEGA
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder
from espnet2.asr_transducer.decoder.modules.mega import positional_bias
from safetensors.torch import save_file

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "deploy_bias" / "data"

SPOKEN = (
    "oh seven seven one four four three two oh three five nine nine five four four zero three "
    "five five one four four four four five zero two two six two eight two nine three four zero "
    "five five"
)


def record_biases() -> dict[str, dict[str, torch.Tensor]]:
    """Return parameters and outputs of ESPnet's two modules, by file name."""
    torch.manual_seed(7)
    records = {}
    for name, module in (
        ("simple", positional_bias.RelativePositionBias(48)),
        ("rotary", positional_bias.RotaryRelativePositionBias(32, 48)),
    ):
        module.reset_parameters(val=0.1, std=0.5)
        with torch.no_grad():
            outputs = {f"forward/{length}": module(length) for length in (1, 2, 17, 48)}
        parameters = {f"parameter/{key}": p.detach() for key, p in module.named_parameters()}
        records[name] = {
            key: t.contiguous().clone() for key, t in {**outputs, **parameters}.items()
        }
    return records


def record_scores() -> torch.Tensor:
    """Return (32, 128): the newest queries' scores before the bias, of the shipped model."""
    config = yaml.safe_load((DATA / "digits/config.yaml").read_text())
    state = torch.load(DATA / "digits/valid.loss.best.pth", weights_only=True)
    decoder = MEGADecoder(len(config["token_list"]), **config["decoder_conf"]).eval()
    own = {k.removeprefix("decoder."): v for k, v in state.items() if k.startswith("decoder.")}
    decoder.load_state_dict(own)
    words = [config["token_list"].index(word) for word in SPOKEN.split()]
    labels = torch.tensor([0, *words, *words[::-1], *words, *words])[:128].unsqueeze(0)
    seen = []
    attention = MEGA.softmax_attention

    def recording(self, query, key, **masks):
        seen.append(torch.matmul(query * self.scaling, key.transpose(2, 3)))
        return attention(self, query, key, **masks)

    MEGA.softmax_attention = recording
    try:
        with torch.no_grad():
            decoder(labels)
    finally:
        MEGA.softmax_attention = attention
    return seen[0][0, 0, -32:].contiguous()


if __name__ == "__main__":
    for name, tensors in record_biases().items():
        save_file(tensors, HERE / f"{name}.safetensors")
    save_file({"scores": record_scores()}, DATA / "scores.safetensors")
