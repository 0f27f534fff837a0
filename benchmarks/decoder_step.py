"""One decoder step of every runtime against ESPnet's eager one; MEGA's at full windows.

The bandwidth bound beside each row is what it takes to read the weights and windows once, at the
read speed measured in the same process.
"""

import copy
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from espnet2.asr_transducer.decoder.mega_decoder import MEGADecoder as EspnetDecoder
from executorch.extension.pybindings import portable_lib

from benchmarks.timing import Row, medians, ratio, time_in_turn
from deploy_bias import MEGADecoder
from deploy_bias.bundle.contract import ModuleSpec, Precision
from deploy_bias.bundle.manifest import Label
from deploy_bias.export.backends import exporter
from deploy_bias.export.graphs import DECODERS
from deploy_bias.export.graphs.decoder import DecoderGraph
from deploy_bias.export.options import ExportOptions
from deploy_bias.runtime import Decoder, Graph
from deploy_bias.runtime.backends import open_session
from tests.espnet.decoders import espnet_step_of, pair

VOCAB = 500
RECIPE = {
    "block_size": 256,
    "linear_size": 2048,
    "qk_size": 128,
    "v_size": 1024,
    "max_positions": 1024,
    "num_heads": 4,
    "rel_pos_bias_type": "rotary",
    "num_blocks": 6,
}
SIZES: dict[str, dict] = {"recipe": RECIPE, "class default": {}}
CONTEXTS = (64, 256, 1000)
RECURRENT: dict[str, tuple[str, dict, float]] = {
    "lstm of 256": ("rnn", {}, 4.0),
    "lstm of 512, 2 layers": ("rnn", {"hidden_size": 512, "num_layers": 2}, 1.0),
    "gru of 256": ("rnn", {"rnn_type": "gru"}, 1.0),
    "rwkv of 256, 4 blocks": ("rwkv", {"block_size": 256}, 4.0),
    "rwkv of 512, 4 blocks": ("rwkv", {}, 1.0),
}
"""ESPnet's name of a decoder, its options, how many times as fast as ESPnet it has to be."""
AT_LEAST = {("fp32", 256): 3.0, ("fp32", 1000): 6.0, ("int8", 256): 6.0, ("int8", 1000): 10.0}
RUNTIMES = ("onnx", "executorch")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
STEPS = 10
"""Labels in a row, as they are decoded: a step finds in the caches what the last one left."""


def rows() -> list[Row]:
    portable_lib._unsafe_reset_threadpool(1)
    return [*mega_rows(read_speed()), *recurrent_rows()]


def recurrent_rows() -> list[Row]:
    """Time the decoders whose state does not grow."""
    found = []
    for title, (kind, options, at_least) in RECURRENT.items():
        ours, theirs = pair(kind, vocab=VOCAB, small={}, **options)
        candidates = {"espnet": espnet_stepper(theirs)}
        for name, step, _ in exported_steps(graph_of(kind, ours), labels=1):
            candidates[name] = step
        seconds = time_in_turn(
            {name: repeated(step) for name, step in candidates.items()}, rounds=15
        )
        ms = {name: value / STEPS for name, value in medians(seconds).items()}
        found += [
            Row(
                f"decoder step, {title}, {name}",
                {"espnet": ms["espnet"], name: ms[name]},
                ("espnet", name),
                ratio(seconds, "espnet", name),
                at_least=at_least,
            )
            for name in list(candidates)[1:]
        ]
    return found


def espnet_stepper(decoder: torch.nn.Module) -> Callable[[], object]:
    """Return one step of ESPnet's rnn or rwkv decoder, which carries its state."""
    state, label, run = decoder.init_state(1), torch.tensor([[7]]), espnet_step_of(decoder)

    def step() -> object:
        nonlocal state
        with torch.no_grad():
            out, state = run(label, state)
        return out

    return step


def mega_rows(speed: float) -> list[Row]:
    found = []
    for size, options in SIZES.items():
        torch.manual_seed(0)
        theirs = EspnetDecoder(VOCAB, **options).eval()
        ours = MEGADecoder(VOCAB, **options).eval()
        ours.load_state_dict(theirs.state_dict())
        times: dict[tuple[str, int], float] = {}
        read: dict[tuple[str, int], int] = {}
        for context in CONTEXTS:
            candidates = {"espnet": espnet_step(theirs, context)}
            for name, step, count in exported_steps(graph_of("mega", ours, context), context + 1):
                candidates[name] = step
                read[name, context] = count
            seconds = time_in_turn(
                {name: repeated(step) for name, step in candidates.items()}, rounds=15
            )
            ms = {name: value / STEPS for name, value in medians(seconds).items()}
            for name in list(candidates)[1:]:
                times[name, context] = ms[name]
                bound = read[name, context] / speed * 1e3
                found.append(
                    Row(
                        f"decoder step, {size} size, context {context}, {name}",
                        {"espnet": ms["espnet"], name: ms[name], "bandwidth bound": bound},
                        ("espnet", name),
                        ratio(seconds, "espnet", name),
                        at_least=AT_LEAST.get((name.split()[1], context), 1.0),
                    )
                )
        for name in dict.fromkeys(name for name, _ in times):
            grown = times[name, CONTEXTS[-1]] / times[name, CONTEXTS[0]]
            bytes_grown = read[name, CONTEXTS[-1]] / read[name, CONTEXTS[0]]
            title = f"growth of time over growth of bytes, {CONTEXTS[0]} to {CONTEXTS[-1]} rows"
            found.append(
                Row(
                    f"{title}, {size} size, {name}",
                    {},
                    ("time", "bytes"),
                    grown / bytes_grown,
                    at_most=1.25,
                    notes={"time": grown, "bytes": bytes_grown},
                )
            )
    return found


def repeated(step: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        for _ in range(STEPS):
            step()

    return run


def espnet_step(decoder: EspnetDecoder, context: int) -> Callable[[], object]:
    """Return one step of ESPnet after `context` - 1 labels: its own state has one row more."""
    state = decoder.init_state(1)
    with torch.no_grad():
        for block in state:
            for name in ("prev_key", "prev_value"):
                block[name] = torch.randn(1, context, block[name].shape[-1])
    label = torch.tensor([[7]])

    def step() -> object:
        with torch.no_grad():
            return decoder.inference(label, copy.copy(state))

    return step


def graph_of(kind: str, decoder: torch.nn.Module, context: int | None = None) -> DecoderGraph:
    spec = ModuleSpec(type=kind, weights="decoder", options={"vocab_size": VOCAB})
    options = ExportOptions(context=context)
    return DECODERS[kind](decoder, DECODERS[kind].contract_of(decoder, spec, options))


def exported_steps(
    graph: DecoderGraph, labels: int
) -> Iterator[tuple[str, Callable[[], object], int]]:
    """Yield name, step and the bytes that a step reads, of every runtime and precision.

    Args:
        graph: of a decoder.
        labels: how many are fed beforehand.
    """
    for runtime in RUNTIMES:
        for precision in PRECISIONS:
            label = Label(
                exporter={},
                weights_sha256="0" * 64,
                precision=precision,
                graphs=(graph.contract,),
            )
            (exported,) = exporter(runtime).export([graph], precision, lambda _, made=label: made)
            session = open_session(runtime, exported.data, runtime)
            stream = Decoder(Graph(graph.contract, session)).stream()
            state = sum(4 * int(np.prod(spec.shape)) for spec in graph.contract.inputs[1:])
            # Of the embedding one row is read, and the file holds all of it.
            embedding = graph.decoder.embed.weight.numel() * 4
            count = len(exported.data) - embedding + state
            yield f"{runtime} {precision}", stream_step(stream, labels), count


def stream_step(stream, labels: int) -> Callable[[], object]:
    state = stream.start()
    for number in range(labels):
        _, (state,) = stream.step([state], [number % VOCAB])

    def step() -> object:
        nonlocal state
        out, (state,) = stream.step([state], [7])
        return out

    return step


def read_speed() -> float:
    """Return the bytes a second that one thread reads from memory, the best of several."""
    block = torch.ones(256 * 2**20 // 4)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        block.sum()
        best = min(best, time.perf_counter() - start)
    return block.numel() * 4 / best
