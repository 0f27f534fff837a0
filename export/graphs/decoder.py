"""The graph `decoder`: one label step, with the state in and out. What every decoder shares.

A decoder of another kind is a class of this one in a file of its own, and an entry in
`deploy_bias.export.graphs.DECODERS`.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import (
    Append,
    Count,
    GraphContract,
    ModuleSpec,
    Replace,
    TensorSpec,
)
from deploy_bias.errors import OptionError
from deploy_bias.export.graph import ExportGraph, Step
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.sources.state_dict import build, named_weights

SEED = 22
SETTINGS = ("start", "rescale")
"""The export's options that name how a decoder decodes."""


class DecoderGraph(ExportGraph):
    """One step of a decoder for a batch of hypotheses.

    Args:
        decoder: the eager module.
        contract: made by `contract_of`.
    """

    MODULE: ClassVar[type[nn.Module]]
    """The eager module. Its options have vocab_size and embed_pad."""
    SECTION: ClassVar[str] = "decoder_conf"
    """Of config.yaml, where its options stand."""
    SETTINGS: ClassVar[Mapping[str, str]] = {}
    """What the decoder has of `SETTINGS`, and how it is if nothing is asked for."""

    # Blocks of large gain amplify rounding: 5e-5 is measured where each weight matrix of the recipe
    # size triples what it is fed. Both references run the same modules, so the limit is not tight.
    relative_limit = 1e-3
    stored_cases = ("one label again and again", "padding")

    def __init__(self, decoder: nn.Module, contract: GraphContract) -> None:
        self.decoder = decoder.eval()
        self.contract = contract
        (label,) = contract.stateless_inputs
        assert label.maximum is not None
        self.batch = label.static_shape[0]
        self.vocab_size = label.maximum + 1
        self.pad = int(contract.module.options.get("embed_pad", 0))

    @classmethod
    @abstractmethod
    def contract_of(
        cls, decoder: nn.Module, spec: ModuleSpec, options: ExportOptions
    ) -> GraphContract:
        """Return the contract of a decoder: the label first, the decoder output first.

        Raises:
            OptionError: an option is outside what the decoder supports.
        """

    @classmethod
    def make(
        cls,
        spec: ModuleSpec,
        state: Mapping[str, Tensor],
        options: ExportOptions,
        where: str,
    ) -> Self:
        """Make the graph of a decoder.

        Args:
            spec: the eager module's.
            state: the whole model.
            options: of the export.
            where: the files, for errors.

        Raises:
            SourceError: an option of the module is not supported, or the weights do not fit.
            OptionError: an option of the export is outside what the decoder supports.
        """
        decoder = build(cls.MODULE, spec, cls.SECTION, state, where)
        graph = cls(decoder, cls.contract_of(decoder, spec, options))
        if options.context is not None and not graph.context:
            raise OptionError(f"--context: decoder {spec.type} has no windows; leave it out.")
        for name in SETTINGS:
            if getattr(options, name) is not None and name not in cls.SETTINGS:
                raise OptionError(f"--{name}: decoder {spec.type} has none; leave it out.")
        return graph

    @classmethod
    def settings_of(cls, options: ExportOptions) -> dict[str, str]:
        """Return how the decoder decodes, what is not asked for as `SETTINGS` has it."""
        return {
            name: default if (value := getattr(options, name)) is None else value
            for name, default in cls.SETTINGS.items()
        }

    @classmethod
    def of(cls, contract: GraphContract, weights: Mapping[str, Tensor], where: str) -> Self:
        """Make the graph of a contract; see `make`."""
        return cls(build(cls.MODULE, contract.module, cls.SECTION, weights, where), contract)

    def weights(self) -> dict[str, Tensor]:
        """Return the decoder's tensors."""
        return named_weights(self.contract.module.weights, self.decoder)

    @property
    def context(self) -> int:
        """The rows of the longest window; 0 where there is none."""
        windows = {rule.input for rule in self.contract.state if isinstance(rule, Append)}
        rows = [s.static_shape[1] for s in self.contract.inputs if s.name in windows]
        return max(rows, default=0)

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return rollouts: 1,000 steps or more, with forks, resets, and stress labels."""
        vocab, pad = self.vocab_size, self.pad
        generator = torch.Generator().manual_seed(SEED + seed)

        def draw(length: int) -> list[int]:
            return torch.randint(vocab, (length,), generator=generator).tolist()

        labels = draw(20)
        replay = self._feed(labels) + self._feed(labels, "reset")
        fork = self._feed(draw(5)) + self._feed(draw(8), "save") + self._feed(draw(8), "restore")
        return {
            "past three windows": self._feed([0, *draw(max(999, 3 * self.context + 20))]),
            "reset and replay": replay,
            "fork": fork,
            "one label again and again": self._feed([vocab - 1] * 40),
            "padding": self._feed([pad] * 40),
            "all labels, 100 at most": self._feed(list(range(min(vocab, 100)))),
        }

    def _feed(self, labels: list[int], first: str = "continue") -> list[Step]:
        # Each hypothesis of a batch gets labels of its own.
        spread = torch.arange(self.batch)[:, None]
        steps = [(spread + label) % self.vocab_size for label in labels]
        return [
            Step({"label": label}, first if index == 0 else "continue")  # type: ignore[arg-type]
            for index, label in enumerate(steps)
        ]


def decoder_contract(
    spec: ModuleSpec,
    batch: int,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    state: tuple[Append | Count | Replace, ...],
    settings: Mapping[str, Any] | None = None,
) -> GraphContract:
    """Return the contract of a decoder.

    Args:
        spec: the eager module's.
        batch: B, hypotheses a call.
        inputs: those that are state.
        outputs: the decoder output (B, D) first.
        state: how each is carried.
        settings: what a reader must know besides.
    """
    label = TensorSpec(
        name="label", dtype="int64", shape=(batch, 1), maximum=spec.options["vocab_size"] - 1
    )
    return GraphContract(
        name="decoder",
        kind="decoder",
        module=spec,
        settings=dict(settings or {}),
        inputs=(label, *inputs),
        outputs=outputs,
        state=state,
    )


def recurrent_contract(
    spec: ModuleSpec,
    batch: int,
    output_size: int,
    states: Mapping[str, tuple[int, ...]],
    initial: Mapping[str, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> GraphContract:
    """Return the contract of a decoder whose next states are outputs, each named next_STATE.

    Args:
        spec: the eager module's.
        batch: B, hypotheses a call.
        output_size: D of the decoder output.
        states: shapes by name, B on axis 1.
        initial: what fills a state before the first label, if not 0.
        settings: see `decoder_contract`.
    """
    first = initial or {}
    return decoder_contract(
        spec,
        batch,
        inputs=tuple(float_spec(name, *shape) for name, shape in states.items()),
        outputs=(
            float_spec("decoder_out", batch, output_size),
            *(float_spec(f"next_{name}", *shape) for name, shape in states.items()),
        ),
        state=tuple(
            Replace(input=name, output=f"next_{name}", batch_axis=1, initial=first.get(name, 0.0))
            for name in states
        ),
        settings=settings,
    )


def float_spec(name: str, *shape: int) -> TensorSpec:
    """Return the spec of a float32 tensor."""
    return TensorSpec(name=name, dtype="float32", shape=shape)
