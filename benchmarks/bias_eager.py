"""The eager modules against ESPnet's: what unfold-and-flip and one vector by offset gain."""

import torch
from espnet2.asr_transducer.decoder.modules.mega import positional_bias as espnet

from benchmarks.timing import Row, compare
from deploy_bias import RelativePositionBias, RotaryRelativePositionBias

LENGTH, TRAINING_LENGTH, SIZE = 2048, 1024, 128


def rows() -> list[Row]:
    simple = RelativePositionBias(LENGTH), espnet.RelativePositionBias(LENGTH)
    rotary = (
        RotaryRelativePositionBias(SIZE, LENGTH),
        espnet.RotaryRelativePositionBias(SIZE, LENGTH),
    )
    plain = torch.randn(LENGTH, LENGTH)
    found = []
    with torch.no_grad():
        for name, (ours, theirs), least in (("simple", simple, 4.0), ("rotary", rotary, 3.0)):
            candidates = {
                "espnet": lambda m=theirs: m(LENGTH),
                "ours": lambda m=ours: m(LENGTH),
                "plain copy": plain.clone,
            }
            title = f"{name} forward({LENGTH}), eager"
            found.append(compare(title, candidates, ("espnet", "ours"), at_least=least))
    gradient = torch.randn(TRAINING_LENGTH, TRAINING_LENGTH)
    ours, theirs = rotary
    candidates = {
        "espnet": lambda: theirs(TRAINING_LENGTH).backward(gradient),
        "ours": lambda: ours(TRAINING_LENGTH).backward(gradient),
    }
    title = f"rotary forward and backward at {TRAINING_LENGTH}, size {SIZE}"
    found.append(compare(title, candidates, ("espnet", "ours"), at_least=3.0))
    return found
