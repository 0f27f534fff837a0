"""What token agreement is measured on: encoder frames, and the labels that are fed along them.

Recorded frames, where the experiment has them: files encoder_out/NAME.npy beside its config.yaml,
each one utterance of (T, E), with the labels that eager decodes from them. Where it has none,
random frames with the scale and shift of the encoder's last normalisation, and random labels.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from deploy_bias.bundle.contract import GraphContract
from deploy_bias.export.graph import ExportGraph, Step
from deploy_bias.export.rollout import Outputs, Rollout, run_case
from deploy_bias.export.sources.frames import RECORDED, SEED


def rollout_vectors(
    decoder: ExportGraph, joint: ExportGraph, frames: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the frames and labels of each rollout, to be kept with the test vectors.

    They are named KIND/NAME/encoder_out, (T, E) float32, and KIND/NAME/label, (U,) int64, the
    blank that every hypothesis starts with included.
    """
    found = {}
    for name, tensor in frames.items():
        recorded = name.startswith(RECORDED)
        labels = _greedy(decoder, joint, tensor) if recorded else _random(joint)
        found[f"{name}/encoder_out"] = tensor
        found[f"{name}/label"] = labels
    return found


def _greedy(decoder: ExportGraph, joint: ExportGraph, frames: Tensor) -> Tensor:
    """Return what eager float32 decodes, at most one label a frame."""
    step, logits = decoder.eager(torch.float32), joint.eager(torch.float32)
    batch = decoder.contract.inputs[0].static_shape[0]
    rollout = Rollout(decoder.contract, torch.float32)
    labels, out = [], torch.empty(0)
    for frame in (None, *frames):
        label = 0
        if frame is not None:
            inputs = {"encoder_out": frame[None], "decoder_out": out[:1]}
            label = int(logits(inputs)["logits"].argmax())
        if frame is None or label:
            labels.append(label)
            fed = {"label": torch.full((batch, 1), label)}
            out = rollout.step(step, fed)["decoder_out"]
    return torch.tensor(labels)


def _random(joint: ExportGraph) -> Tensor:
    vocab = joint.contract.outputs[0].shape[-1]
    assert isinstance(vocab, int)
    labels = torch.randint(vocab, (100,), generator=torch.Generator().manual_seed(SEED))
    labels[0] = 0
    return labels


def vectors_of(graph: ExportGraph) -> dict[str, Tensor]:
    """Return inputs and eager float32 outputs of its stored cases, to test other languages with.

    The tensors are named GRAPH/CASE/TENSOR and have the steps along their first axis; the state
    is not among them, for each side carries its own.
    """
    found: dict[str, Tensor] = {}
    for case in graph.stored_cases:
        steps = graph.cases()[case]
        outputs = run_case(graph.contract, graph.eager(torch.float32), steps, torch.float32)
        inputs = {
            name: torch.stack([step.inputs[name] for step in steps]) for name in steps[0].inputs
        }
        for name, tensor in {**inputs, **outputs}.items():
            found[f"{graph.contract.name}/{case}/{name}"] = tensor
    return found


def stored_cases(
    contract: GraphContract, vectors: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, list[Step], Outputs]]:
    """Yield the stored cases of a graph: name, steps and expected outputs."""
    outputs = {spec.name for spec in contract.outputs}
    cases: dict[str, dict[str, Tensor]] = {}
    for key, array in sorted(vectors.items()):
        graph, case, name = key.split("/")
        if graph == contract.name:
            cases.setdefault(case, {})[name] = torch.from_numpy(array)
    for case, tensors in cases.items():
        inputs = {name: tensor for name, tensor in tensors.items() if name not in outputs}
        count = len(next(iter(inputs.values())))
        # Cloned, so aligned: where a file's bytes happen to lie in memory changes how eager rounds.
        steps = [Step({name: inputs[name][i].clone() for name in inputs}) for i in range(count)]
        yield case, steps, {name: tensors[name] for name in outputs}
