"""All graphs of a model: from a checkpoint to export, and from a bundle to prove."""

from collections.abc import Mapping

from torch import Tensor

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.bundle.contract import (
    BiasModule,
    DecoderModule,
    EncoderModule,
    ForeignModule,
    FrontendModule,
    GraphContract,
    JointModule,
)
from deploy_bias.errors import OptionError, SourceError
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.graphs.bias import BiasGraph, bias_graphs
from deploy_bias.export.graphs.decoder import DecoderGraph, decoder_graph
from deploy_bias.export.graphs.encoder import EncoderGraph, encoder_graph, encoder_module
from deploy_bias.export.graphs.frontend import FrontendGraph, chunking_of, frontend_graph
from deploy_bias.export.graphs.joint import JointGraph, joint_graph
from deploy_bias.export.graphs.offline import (
    OfflineGraph,
    WholeEncoder,
    WholeFrontend,
    offline_encoder_graph,
    offline_frontend_graph,
)
from deploy_bias.export.sources.bias import Source, build_bias_module
from deploy_bias.export.sources.speech import (
    ENCODER,
    FRONTEND,
    Speech,
    build_encoder_of,
    build_frontend,
    build_normalize,
)
from deploy_bias.export.sources.transducer import DECODER, JOINT, build_decoder, build_joint
from deploy_bias.model.frontend import UtteranceMVN


def model_graphs(
    source: Source,
    *,
    query_length: int | None,
    key_length: int | None,
    context: int | None,
    batch: int,
    start: str,
    chunk_ms: int,
    left_context: int,
    streams: bool,
    dynamic: bool,
) -> list[ExportGraph]:
    """Return the graphs of a model: each bias, and of a transducer all from samples to labels.

    Args:
        source: what the checkpoint holds.
        query_length: of the biases, see `bias_graphs`.
        key_length: of the biases, see `bias_graphs`.
        context: the rows of the decoder's windows; default 256 or as many as it has positions
            for, whichever is less.
        batch: hypotheses a call.
        start: "espnet" or "clean", see `deploy_bias.bundle.window`.
        chunk_ms: ESPnet's decoding_window, the milliseconds of audio that are encoded at once.
        left_context: encoder frames before a chunk that the encoder sees.
        streams: whether the frontend and the encoder are to stream.
        dynamic: the biases take any length.

    Raises:
        OptionError: an option is outside what the model supports.
    """
    graphs: list[ExportGraph] = [
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
    speech: list[ExportGraph] = []
    if source.speech is not None and streams:
        speech = _speech_graphs(source.speech, chunk_ms, left_context)
    return [
        *speech,
        *graphs,
        decoder_graph(decoder, module, batch),
        joint_graph(transducer.joint, joint, batch),
    ]


def _speech_graphs(speech: Speech, chunk_ms: int, left_context: int) -> list[ExportGraph]:
    """Return the graphs that stream."""
    if left_context < 1:
        raise OptionError(f"--left-context must be at least 1, got {left_context}.")
    if chunk_ms < 1:
        raise OptionError(f"--chunk-ms must be at least 1, got {chunk_ms}.")
    try:
        frontend, encoder = _speech_modules(speech, chunk_ms, left_context)
        if isinstance(speech.normalize, UtteranceMVN):
            raise OptionError("normalize utterance_mvn needs the whole utterance.")
        return [
            frontend_graph(speech.frontend, speech.normalize, frontend),
            encoder_graph(speech.encoder, encoder),
        ]
    except ValueError as error:
        raise OptionError(
            f"the model cannot stream in chunks of {chunk_ms} ms: {error} Take other chunks, or "
            "--offline for whole utterances."
        ) from error


def offline_graphs(source: Source, chunk_ms: int, left_context: int) -> list[ExportGraph]:
    """Return the graphs for whole utterances.

    Args:
        source: what the checkpoint holds.
        chunk_ms: of the streaming graphs beside them; see `model_graphs`.
        left_context: likewise.

    Raises:
        OptionError: the model has no encoder.
    """
    if source.speech is None:
        raise OptionError("--offline: the experiment has no encoder, or none that takes samples.")
    speech = source.speech
    frontend, encoder = _speech_modules(speech, chunk_ms, left_context)
    return [
        offline_frontend_graph(speech.frontend, speech.normalize, frontend),
        offline_encoder_graph(speech.encoder, encoder, frontend),
    ]


def _speech_modules(
    speech: Speech, chunk_ms: int, left_context: int
) -> tuple[FrontendModule, EncoderModule]:
    frontend = speech.frontend
    module = FrontendModule(
        type="DefaultFrontend",
        weights=FRONTEND,
        options=speech.frontend_options,
        normalize=speech.normalize_type,  # type: ignore[arg-type]
        normalize_options=speech.normalize_options,
        fs=frontend.fs,
        n_fft=frontend.n_fft,
        hop_length=frontend.hop_length,
        decoding_window=Chunking.samples_of(chunk_ms, frontend.fs),
        subsampling_factor=speech.subsampling_factor,
    )
    frames = chunking_of(module).max_frames
    encoder = encoder_module(speech.encoder, ENCODER, speech.encoder_options, frames, left_context)
    return module, encoder


def bundle_graph(contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> ExportGraph:
    """Build the graph of a contract again, from the weights of a bundle.

    Raises:
        SourceError: the weights do not fit the contract.
    """
    module = contract.module
    if isinstance(module, BiasModule):
        return BiasGraph(build_bias_module(module, weights, where), contract)
    if isinstance(module, DecoderModule):
        return DecoderGraph(build_decoder(module.options, weights, where), contract)
    if isinstance(module, JointModule):
        return JointGraph(build_joint(module.options, weights, where), contract)
    if isinstance(module, ForeignModule):
        raise SourceError(f"{where}: {contract.name} is made of {module.name}, not of a model.")
    return _speech_graph(contract, module, weights, where)


def _speech_graph(
    contract: GraphContract,
    module: FrontendModule | EncoderModule,
    weights: Mapping[str, Tensor],
    where: str,
) -> ExportGraph:
    if isinstance(module, EncoderModule):
        encoder = build_encoder_of(module.options, weights, where)
        if contract.kind == "offline_encoder":
            return OfflineGraph(WholeEncoder(encoder), contract)
        return EncoderGraph(encoder, contract)
    normalize = build_normalize(module.normalize, module.normalize_options, weights, where)
    frontend = build_frontend(module.options, weights, where)
    if contract.kind == "offline_frontend":
        return OfflineGraph(WholeFrontend(frontend, normalize), contract)
    assert not isinstance(normalize, UtteranceMVN)
    return FrontendGraph(frontend, normalize, contract)
