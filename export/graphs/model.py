"""All graphs of a model: from a checkpoint to export."""

from collections.abc import Sequence

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.bundle.contract import ModuleSpec, settings_of
from deploy_bias.bundle.settings import FrontendSettings
from deploy_bias.errors import OptionError
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.graphs import decoder_class
from deploy_bias.export.graphs.bias import bias_graphs
from deploy_bias.export.graphs.encoder import EncoderGraph
from deploy_bias.export.graphs.frontend import FrontendGraph
from deploy_bias.export.graphs.joint import JointGraph
from deploy_bias.export.graphs.language_model import LanguageModelGraph
from deploy_bias.export.graphs.offline import OfflineEncoderGraph, OfflineFrontendGraph
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.sources import Source
from deploy_bias.export.sources.source import Bias
from deploy_bias.export.steps.chunk import WholeUtteranceError
from deploy_bias.model.frontend import get_frontend

SUBSAMPLING_FACTOR = 4
"""Feature frames for an encoder frame, ESPnet's default."""


def model_graphs(
    source: Source, options: ExportOptions, dynamic: bool = False
) -> list[ExportGraph]:
    """Return the graphs of a model: each bias, and of a transducer all from samples to labels.

    Args:
        source: what the checkpoint holds.
        options: of the export.
        dynamic: the biases take any length.

    Raises:
        SourceError: a part of the model is not supported, or its weights do not fit.
        OptionError: an option is outside what the model supports.
    """
    where, state = source.where, source.state
    if "decoder" not in source.parts:
        if options.context is not None:
            raise OptionError("--context: a bare state_dict has no decoder; give --config too.")
        return [*bias_graphs(source.biases, options, dynamic)]
    spec = source.parts["decoder"]
    decoder = decoder_class(spec.type, where).make(spec, state, options, where)
    biases = {
        f"{spec.weights}.{name}": module
        for name, module in decoder.decoder.named_modules()
        if isinstance(module, Bias)
    }
    durations = source.blank_durations
    joint = JointGraph.make(source.parts["joint"], state, options, where, durations)
    speech = [] if options.offline else _speech_graphs(source, options)
    return [*speech, *bias_graphs(biases, options, dynamic), decoder, joint, *_lm(source, options)]


def offline_graphs(source: Source, options: ExportOptions) -> list[ExportGraph]:
    """Return the graphs for whole utterances.

    Raises:
        SourceError: a part of the model is not supported, or its weights do not fit.
        OptionError: the model has no encoder.
    """
    if "encoder" not in source.parts:
        raise OptionError("--offline: the experiment has no encoder, or none that takes samples.")
    frontend, encoder = source.parts["frontend"], source.parts["encoder"]
    settings = _frontend_settings(frontend, encoder, options)
    rest = (settings, source.where)
    return [
        OfflineFrontendGraph.make(frontend, source.state, *rest),
        OfflineEncoderGraph.make(encoder, source.state, options.left_context, *rest),
    ]


def _speech_graphs(source: Source, options: ExportOptions) -> list[ExportGraph]:
    """Return the graphs that stream, if the model has an encoder."""
    if "encoder" not in source.parts:
        return []
    frontend, encoder = source.parts["frontend"], source.parts["encoder"]
    state, where = source.state, source.where
    try:
        settings = _frontend_settings(frontend, encoder, options)
        frames, context = settings.chunking.max_frames, options.left_context
        return [
            FrontendGraph.make(frontend, state, settings, where),
            EncoderGraph.make(encoder, state, frames, context, where),
        ]
    except WholeUtteranceError as error:
        raise OptionError(
            f"the model cannot stream: {error} Take --offline for whole utterances."
        ) from error
    except ValueError as error:
        raise OptionError(
            f"the model cannot stream in chunks of {options.chunk_ms} ms: {error} Take other "
            "chunks, or --offline for whole utterances."
        ) from error


def _lm(source: Source, options: ExportOptions) -> list[ExportGraph]:
    """Return the graph of the language model, if there is one."""
    if "lm" not in source.parts:
        return []
    # The options of a decoder are not its.
    own = options.model_copy(update={"context": None, "start": None, "rescale": None})
    return [LanguageModelGraph.make(source.parts["lm"], source.state, own, source.where)]


def streaming_notes(graphs: Sequence[ExportGraph]) -> list[str]:
    """Return what the user should know of how a model streams."""
    notes = []
    for graph in graphs:
        if graph.contract.kind == "frontend":
            settings = settings_of(graph.contract, FrontendSettings)
            if not settings.chunking.equals_espnet:
                notes.append(
                    f"with n_fft {settings.n_fft} and hop_length {settings.hop_length} ESPnet's "
                    "streaming loses frames at the borders of chunks, and this loses none: scores "
                    "differ from ESPnet's"
                )
    return notes


def _frontend_settings(
    frontend: ModuleSpec, encoder: ModuleSpec, options: ExportOptions
) -> FrontendSettings:
    module = get_frontend(**frontend.options["frontend_conf"])
    conf = encoder.options.get("input_conf") or {}
    return FrontendSettings(
        fs=module.fs,
        n_fft=module.n_fft,
        hop_length=module.hop_length,
        decoding_window=Chunking.samples_of(options.chunk_ms, module.fs),
        subsampling_factor=int(conf.get("subsampling_factor", SUBSAMPLING_FACTOR)),
    )
