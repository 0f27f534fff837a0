"""Draw the biases of a bundle."""

from pathlib import Path

import numpy as np
import torch

from deploy_bias.bundle import Bundle
from deploy_bias.errors import OptionError
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.graphs.bias import BiasGraph
from deploy_bias.export.sources import Bias
from deploy_bias.packages import needed


def bias_modules(bundle: Bundle) -> dict[str, Bias]:
    """Build the eager bias modules of a bundle, by the prefix of their parameters."""
    weights = BundleWeights(bundle)
    contracts = {
        graph.module.weights: graph
        for artifact in bundle.manifest.artifacts
        for graph in artifact.graphs
        if graph.kind == "bias"
    }
    graphs = {name: weights.graph(contract) for name, contract in contracts.items()}
    return {name: graph.bias for name, graph in graphs.items() if isinstance(graph, BiasGraph)}


def plot_biases(bundle: Bundle, path: Path) -> None:
    """Draw each block's bias by offset, and as a heat map, to an image file.

    Raises:
        OptionError: the file's ending is no format that matplotlib writes.
    """
    with needed("matplotlib", "--plot"):
        import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    modules = bias_modules(bundle)
    figure, axes = pyplot.subplots(
        len(modules), 2, figsize=(11, 3.2 * len(modules)), squeeze=False, layout="constrained"
    )
    if path.suffix[1:] not in figure.canvas.get_supported_filetypes():
        raise OptionError(f"--plot: {path}: cannot draw to {path.suffix!r}; end it in .png.")
    for (prefix, module), (line, heat) in zip(modules.items(), axes, strict=True):
        with torch.inference_mode():
            offsets = module.offsets().numpy()
            shown = min(module.max_positions, 256)
            square = module(shown).numpy()
        reach = module.max_positions - 1
        line.plot(np.arange(-reach, reach + 1), offsets, linewidth=1)
        line.axvline(0, color="0.7", linewidth=0.8)
        line.set(title=prefix or type(module).__name__, xlabel="key - query", ylabel="bias")
        limit = np.abs(square).max()
        image = heat.imshow(square, cmap="RdBu_r", vmin=-limit, vmax=limit)
        heat.set(title=f"{shown} x {shown}", xlabel="key", ylabel="query")
        figure.colorbar(image, ax=heat)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
