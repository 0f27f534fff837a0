"""One decoder step of every runtime against ESPnet's eager `inference`, at full windows.

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
from deploy_bias.export.graphs.mega_decoder import MEGADecoderGraph
from deploy_bias.export.options import ExportOptions
from deploy_bias.runtime import Decoder, Graph
from deploy_bias.runtime.backends import open_session

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
AT_LEAST = {("fp32", 256): 3.0, ("fp32", 1000): 6.0, ("int8", 256): 6.0, ("int8", 1000): 10.0}
RUNTIMES = ("onnx", "executorch")
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
STEPS = 10
"""Labels in a row, as they are decoded: a step finds in the caches what the last one left."""


def rows() -> list[Row]:
    portable_lib._unsafe_reset_threadpool(1)
    speed = read_speed()
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
            for name, step, count in exported_steps(ours, context):
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


def exported_steps(
    decoder: MEGADecoder, context: int
) -> Iterator[tuple[str, Callable[[], object], int]]:
    """Yield name, step and the bytes that a step reads, of every runtime and precision."""
    spec = ModuleSpec(type="mega", weights="decoder", options={"vocab_size": VOCAB})
    options = ExportOptions(context=context)
    graph = MEGADecoderGraph(decoder, MEGADecoderGraph.contract_of(decoder, spec, options))
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
            windows = sum(4 * int(np.prod(spec.shape)) for spec in graph.contract.inputs[3:])
            # Of the embedding one row is read, and the file holds all of it.
            embedding = decoder.embed.weight.numel() * 4
            count = len(exported.data) - embedding + windows
            yield f"{runtime} {precision}", full_stream_step(stream, context), count


def full_stream_step(stream, context: int) -> Callable[[], object]:
    state = stream.start()
    for number in range(context + 1):
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
