"""Run the cases of a plan on this processor: python run.py PLAN.json INPUTS.npz OUTPUTS.npz.

Runs under the emulator too, so it imports numpy and the runtimes, and nothing else. `plan.py`
makes the plan.
"""

import json
import sys
from pathlib import Path

import numpy as np


def onnx(data, method):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def executorch(data, method):
    try:
        import executorch_numpy_runtime

        return executorch_numpy_runtime.Runtime.get().load_program(data).load_method(method)
    except ImportError:
        import torch
        from executorch.runtime import Runtime

        loaded = Runtime.get().load_program(data).load_method(method)
        return lambda inputs: [
            x.numpy() for x in loaded.execute([torch.from_numpy(x) for x in inputs])
        ]


def run_case(call, graph, given, rows):
    """Run a case, the state carried; return each output of every step, stacked.

    Args:
        call: arrays in the order of the graph's inputs to arrays in the order of its outputs.
        graph: of the plan.
        given: what is fed, the steps along the first axis.
        rows: how many rows a window grows by at each step, where it is "extend".
    """
    state = {
        name: np.full(shape, value, dtype)
        for name, (dtype, shape, value) in graph["initial"].items()
    }
    found = []
    for step in range(len(next(iter(given.values())))):
        fed = {**state, **{name: array[step] for name, array in given.items()}}
        outputs = call([np.ascontiguousarray(fed[name]) for name in graph["inputs"]])
        # Copied: a runtime may reuse the memory.
        outputs = {name: np.array(x) for name, x in zip(graph["outputs"], outputs, strict=True)}
        for name, update, output, row in graph["state"]:
            new = outputs[output]
            if update == "append":
                new = np.concatenate([state[name][:, 1:], new[row][:, None]], axis=1)
            elif update == "extend":
                new = np.concatenate([state[name], new[:, : rows[step]]], axis=1)[:, rows[step] :]
            state[name] = new
        found.append(outputs)
    return {name: np.stack([outputs[name] for outputs in found]) for name in graph["outputs"]}


def main(plan, inputs, output):
    inputs = np.load(inputs)
    results = {}
    for artifact in json.loads(Path(plan).read_text()):
        data = Path(artifact["path"]).read_bytes()
        open_graph = {"onnx": onnx, "executorch": executorch}[artifact["backend"]]
        prefix = f"{artifact['backend']}/{artifact['precision']}"
        for graph in artifact["graphs"]:
            name = graph["name"]
            call = open_graph(data, name)
            for case, fed in graph["cases"].items():
                given = {leaf: inputs[f"{name}/{case}/{leaf}"] for leaf in fed}
                rows = given.pop("rows", None)
                if "decoder_step" in given:  # what this very decoder gave at that step
                    outs = results[f"{prefix}/decoder/{case}/decoder_out"]
                    given["decoder_out"] = outs[given.pop("decoder_step")]
                for leaf, array in run_case(call, graph, given, rows).items():
                    results[f"{prefix}/{name}/{case}/{leaf}"] = array
    np.savez(output, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
