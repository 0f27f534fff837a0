"""The graph `decoder`: one label step, with the state in and out."""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.bundle.contract import DecoderModule, GraphContract, State, TensorSpec
from deploy_bias.bundle.window import first_valid
from deploy_bias.export.graph import Call, ExportGraph, Layout, Step, Tensors
from deploy_bias.export.steps.mega_decoder import DecoderStep
from deploy_bias.model.decoder.feed_forward import NormalizedPositionwiseFeedForward
from deploy_bias.model.decoder.mega import MEGA
from deploy_bias.model.decoder.mega_decoder import MEGADecoder

SEED = 22


class FlatDecoderStep(nn.Module):
    """`DecoderStep` with its windows side by side: files have inputs, not lists."""

    def __init__(self, step: DecoderStep) -> None:
        super().__init__()
        self.step = step

    def forward(
        self, label: Tensor, valid: Tensor, ema_state: Tensor, *windows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`DecoderStep.forward`; the key windows of all blocks, then the value windows."""
        blocks = len(windows) // 2
        outputs: tuple[Tensor, Tensor, Tensor, Tensor] = self.step(
            label, valid, ema_state, list(windows[:blocks]), list(windows[blocks:])
        )
        return outputs


class DecoderGraph(ExportGraph):
    """One step of a decoder for a batch of hypotheses.

    Args:
        decoder: the eager module.
        contract: made by `decoder_graph`.
    """

    # Blocks of large gain amplify rounding: 5e-5 is measured where each weight matrix of the recipe
    # size triples what it is fed. Both references run the same modules, so the limit is not tight.
    relative_limit = 1e-3
    stored_cases = ("one label again and again", "padding")

    def __init__(self, decoder: MEGADecoder, contract: GraphContract) -> None:
        assert isinstance(contract.module, DecoderModule)
        self.decoder = decoder.eval()
        self.contract = contract
        self.context = contract.module.context
        self.batch = contract.inputs[0].shape[0]

    def module(self, layout: Layout) -> nn.Module:
        """Return the step; its bias is one row, so there is nothing to lay out."""
        assert isinstance(self.batch, int)
        return FlatDecoderStep(DecoderStep(self.decoder, self.context, self.batch)).eval()

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return label 0 with an empty context."""
        assert isinstance(self.batch, int)
        step = DecoderStep(self.decoder, self.context, self.batch)
        label, valid, state, keys, values = step.example_inputs()
        return (label, valid, state, *keys, *values)

    def eager(self, dtype: torch.dtype) -> Call:
        """Return ESPnet's recurrence over the valid rows alone, from the decoder's own modules."""
        return _Recurrence(copy.deepcopy(self.decoder).to(dtype))

    def cases(self, seed: int = 0) -> dict[str, list[Step]]:
        """Return rollouts: 1,000 steps or more, with forks, resets, and stress labels."""
        vocab, pad = self.decoder.vocab_size, self.decoder.pad_idx
        generator = torch.Generator().manual_seed(SEED + seed)

        def draw(length: int) -> list[int]:
            return torch.randint(vocab, (length,), generator=generator).tolist()

        some = draw(20)
        replay = self._feed(some) + self._feed(some, "reset")
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
        assert isinstance(self.batch, int)
        spread = torch.arange(self.batch)[:, None]
        steps = [(spread + label) % self.decoder.vocab_size for label in labels]
        return [
            Step({"label": label}, first if index == 0 else "continue")  # type: ignore[arg-type]
            for index, label in enumerate(steps)
        ]


class _Recurrence:
    """The decoder's step by its definition: no mask, no folded constant, native normalisations."""

    def __init__(self, decoder: MEGADecoder) -> None:
        self.decoder = decoder

    @torch.no_grad()
    def __call__(self, inputs: Tensors) -> dict[str, Tensor]:
        rows = [self._hypothesis(inputs, index) for index in range(inputs["label"].shape[0])]
        axis = {"decoder_out": 0, "next_ema_state": 1, "new_keys": 1, "new_values": 1}
        return {name: torch.cat([row[name] for row in rows], axis[name]) for name in axis}

    def _hypothesis(self, inputs: Tensors, index: int) -> dict[str, Tensor]:
        valid = int(inputs["valid"][index])
        x = self.decoder.embed(inputs["label"][index])
        states, keys, values = [], [], []
        for block, (mega, feed_forward) in enumerate(self.decoder.blocks()):
            seen_keys, seen_values = (
                window[index, window.shape[1] - valid :]
                for window in (inputs[f"key_window_{block}"], inputs[f"value_window_{block}"])
            )
            state = inputs["ema_state"][block, index]
            x, state, key, value = _block(mega, feed_forward, x, state, seen_keys, seen_values)
            states.append(state)
            keys.append(key)
            values.append(value)
        return {
            "decoder_out": self.decoder.final_norm(x),
            "next_ema_state": torch.stack(states).unsqueeze(1),
            "new_keys": torch.stack(keys),
            "new_values": torch.stack(values),
        }


def _block(
    mega: MEGA,
    feed_forward: NormalizedPositionwiseFeedForward,
    x: Tensor,
    state: Tensor,
    keys: Tensor,
    values: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One block for one label; x (1, D), state (D, H), keys (n, K) and values (n, V)."""
    ema, act = mega.multihead_damped_ema, mega.activation
    damping, decay = torch.sigmoid(ema.damping_factor), torch.sigmoid(ema.decay_factor)
    grown = damping * ema.ema_expansion_matrix
    state = grown[..., 0] * x.T + (1 - damping * decay)[..., 0] * state
    heads = state.shape[-1]
    average = (state * ema.kernel_projection_matrix).sum(-1) * heads**-0.5
    average = act(average + x * ema.residual_weight)

    value = act(mega.proj_v(x))
    residual, qk, gate, intermediate = mega.proj_mx(average).split(mega.mix_sizes(), dim=-1)
    query, key = (act(qk) * mega.qk_weight + mega.qk_bias).split(1)
    keys, values = torch.cat([keys, key]), torch.cat([values, value])
    scores = query @ keys.T * mega.qk_size**-0.5
    scores = scores + mega.rel_pos_bias(keys.shape[0])[-1]
    attended = torch.softmax(scores, dim=-1) @ values
    update = act(intermediate + mega.proj_h(attended * act(gate)))
    x = mega.normalization(x + torch.sigmoid(residual) * (update - x))
    return feed_forward(x), state, key, value


def decoder_graph(decoder: MEGADecoder, module: DecoderModule, batch: int) -> DecoderGraph:
    """Make the graph `decoder`.

    Args:
        decoder: the eager module.
        module: what the contract says of it.
        batch: B, hypotheses a call.
    """
    mega, _ = next(decoder.blocks())
    blocks, context = decoder.num_blocks, module.context
    state = (blocks, batch, decoder.output_size, mega.multihead_damped_ema.num_heads)

    def spec(name: str, *shape: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=shape)

    kinds = (("key", "keys", mega.qk_size), ("value", "values", mega.v_size))
    windows = [
        (f"{kind}_window_{block}", f"new_{plural}", block, size)
        for kind, plural, size in kinds
        for block in range(blocks)
    ]
    contract = GraphContract(
        name="decoder",
        kind="decoder",
        module=module,
        inputs=(
            TensorSpec(name="label", dtype="int64", shape=(batch, 1)),
            TensorSpec(name="valid", dtype="int64", shape=(batch,)),
            spec("ema_state", *state),
            *(spec(name, batch, context, size) for name, _, _, size in windows),
        ),
        outputs=(
            spec("decoder_out", batch, decoder.output_size),
            spec("next_ema_state", *state),
            *(spec(f"new_{plural}", blocks, batch, size) for _, plural, size in kinds),
        ),
        state=(
            State(input="valid", update="count", initial=first_valid(module.start)),
            State(input="ema_state", update="replace", output="next_ema_state"),
            *(
                State(input=name, update="append", output=output, row=block)
                for name, output, block, _ in windows
            ),
        ),
    )
    return DecoderGraph(decoder, contract)
