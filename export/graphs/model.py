"""All graphs of a model: from a checkpoint to export, and from a bundle to prove."""

from collections.abc import Mapping

from torch import Tensor

from deploy_bias.contract import (
    BiasModule,
    DecoderModule,
    GraphContract,
    JointModule,
)
from deploy_bias.errors import OptionError
from export.checkpoint import Source, build_bias_module
from export.graphs import Graph
from export.graphs.bias import BiasGraph, bias_graphs
from export.graphs.decoder import DecoderGraph, decoder_graph
from export.graphs.joint import JointGraph, joint_graph
from export.transducer import DECODER, JOINT, build_decoder, build_joint


def model_graphs(
    source: Source,
    *,
    query_length: int | None,
    key_length: int | None,
    context: int | None,
    batch: int,
    start: str,
    dynamic: bool,
) -> list[Graph]:
    """Return the graphs of a model: each bias, and of a transducer the decoder and the joint.

    Args:
        source: what the checkpoint holds.
        query_length: of the biases, see `bias_graphs`.
        key_length: of the biases, see `bias_graphs`.
        context: the rows of the decoder's windows; default 256 or as many as it has positions
            for, whichever is less.
        batch: hypotheses a call.
        start: "espnet" or "clean", see `deploy_bias.window`.
        dynamic: the biases take any length.

    Raises:
        OptionError: an option is outside what the model supports.
    """
    graphs: list[Graph] = [
        *bias_graphs(source.modules, query_length, key_length, batch, dynamic=dynamic)
    ]
    transducer = source.transducer
    if transducer is None:
        if context is not None:
            raise OptionError("--context: a bare state_dict has no decoder; give --config too.")
        return graphs
    if start not in ("espnet", "clean"):
        raise OptionError(f"--start must be espnet or clean, got {start!r}.")
    decoder = transducer.decoder
    rows = decoder.positions - 1
    chunked = decoder.chunk_size > 0
    if context is not None and not (1 <= context <= rows and (context == rows or not chunked)):
        bound = f"{rows}, the decoder's chunk_size less 1" if chunked else f"1 to {rows}"
        raise OptionError(
            f"--context must be {bound} (the new label takes one of its {decoder.positions} "
            f"positions), got {context}."
        )
    default = rows if chunked else min(256, rows)
    module = DecoderModule(
        type="MEGADecoder",
        weights=DECODER,
        options=transducer.decoder_options,
        context=default if context is None else context,
        start=start,  # type: ignore[arg-type]
    )
    joint = JointModule(type="JointNetwork", weights=JOINT, options=transducer.joint_options)
    return [
        *graphs,
        decoder_graph(decoder, module, batch),
        joint_graph(transducer.joint, joint, batch),
    ]


def bundle_graph(contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Graph:
    """Build the graph of a contract again, from the weights of a bundle.

    Raises:
        SourceError: the weights do not fit the contract.
    """
    module = contract.module
    if isinstance(module, BiasModule):
        return BiasGraph(build_bias_module(module, weights, where), contract)
    if isinstance(module, DecoderModule):
        return DecoderGraph(build_decoder(module.options, weights, where), contract)
    return JointGraph(build_joint(module.options, weights, where), contract)
