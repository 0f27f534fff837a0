"""The graphs, one file a kind: its contract, its module to export, its references and cases."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deploy_bias.bundle import Bundle
from deploy_bias.bundle.contract import GraphContract
from deploy_bias.errors import SourceError
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.graphs.bias import BiasGraph
from deploy_bias.export.graphs.decoder import DecoderGraph
from deploy_bias.export.graphs.encoder import EncoderGraph
from deploy_bias.export.graphs.frontend import FrontendGraph
from deploy_bias.export.graphs.joint import JointGraph
from deploy_bias.export.graphs.language_model import LanguageModelGraph
from deploy_bias.export.graphs.mega_decoder import MEGADecoderGraph
from deploy_bias.export.graphs.offline import OfflineEncoderGraph, OfflineFrontendGraph
from deploy_bias.export.graphs.rnn_decoder import RNNDecoderGraph
from deploy_bias.export.graphs.rwkv_decoder import RWKVDecoderGraph
from deploy_bias.export.graphs.stateless_decoder import StatelessDecoderGraph

DECODERS: dict[str, type[DecoderGraph]] = {
    "mega": MEGADecoderGraph,
    "rnn": RNNDecoderGraph,
    "rwkv": RWKVDecoderGraph,
    "stateless": StatelessDecoderGraph,
}
"""By ESPnet's name of the decoder, which is the type of its module in the contract."""

Rebuild = Callable[[GraphContract, Mapping[str, Tensor], str], ExportGraph]

KINDS: dict[str, Rebuild] = {
    "bias": BiasGraph.of,
    "decoder": lambda contract, *rest: decoder_class(contract.module.type, rest[1]).of(
        contract, *rest
    ),
    "encoder": EncoderGraph.of,
    "frontend": FrontendGraph.of,
    "joint": JointGraph.of,
    "lm": LanguageModelGraph.of,
    "offline_encoder": OfflineEncoderGraph.of,
    "offline_frontend": OfflineFrontendGraph.of,
}
"""How a graph is made from its contract, by kind."""


def decoder_class(name: str, where: str) -> type[DecoderGraph]:
    """Return the class of a decoder's graph.

    Raises:
        SourceError: there is no decoder of that name.
    """
    if name not in DECODERS:
        raise SourceError(
            f"{where}: decoder is {name!r}; supported: {', '.join(map(repr, DECODERS))}, of an "
            "ESPnet asr_transducer experiment."
        )
    return DECODERS[name]


class BundleWeights:
    """The weights of a bundle, from which the graphs of its contracts are made again.

    Args:
        bundle: an open one.

    Raises:
        BundleError: the weights are missing or were changed.
    """

    def __init__(self, bundle: Bundle) -> None:
        file = bundle.manifest.weights
        self._float_layers = bundle.manifest.float_layers
        self.where = str(bundle.folder / file.path)
        self.tensors = {
            name: torch.from_numpy(array) for name, array in bundle.tensors(file).items()
        }

    def graph(self, contract: GraphContract) -> ExportGraph:
        """Make the graph of a contract.

        Raises:
            SourceError: its kind is unknown, or the weights do not fit it.
        """
        if contract.kind not in KINDS:
            raise SourceError(
                f"{self.where}: {contract.name} is of the kind {contract.kind!r}; supported: "
                f"{', '.join(KINDS)}."
            )
        graph = KINDS[contract.kind](contract, self.tensors, self.where)
        graph.float_layers = self._float_layers.get(contract.name, {})
        return graph
