"""The ranges of a quantised ONNX file: what is past what it was calibrated for is cut off."""

from collections.abc import Mapping

import numpy as np

from deploy_bias.export.testing.artifacts import Values


def narrow_range(path: str, fed: Mapping[str, np.ndarray], values: Values) -> str:
    """Return which value of a run is furthest past its range, in words; nothing if none is.

    Args:
        path: of the file.
        fed: its inputs by name.
        values: of the run.
    """
    import onnx

    model = onnx.load(path)
    known = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known |= {value.name: value.array for value in values[0]} | dict(fed)
    worst, text = 0.0, ""
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or not all(name in known for name in node.input):
            continue
        array, scale, *zero = (known[name] for name in node.input)
        kind = np.iinfo(zero[0].dtype if zero else np.uint8)
        offset = zero[0].astype(np.float64) if zero else 0.0
        if scale.size > 1 or not array.size:
            continue  # of weights
        low, high = (float((limit - offset) * scale) for limit in (kind.min, kind.max))
        least, greatest = float(array.min()), float(array.max())
        below = low - least if low < 0 else 0.0  # a range from zero on is a ReLU
        past = max(greatest - high, below) / (high - low)
        if past > max(worst, 1 / (kind.max - kind.min)):
            worst, text = (
                past,
                f"{node.input[0]} is {least:.3g} to {greatest:.3g} and is cut off at {low:.3g} and "
                f"{high:.3g}: calibrate with more inputs",
            )
    return text
