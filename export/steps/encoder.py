"""One chunk of an encoder as a graph with static shapes: features in, encoder frames out.

What ESPnet keeps between chunks, it keeps inside the encoder. Here it is explicit, in *windows* of
rows, oldest first, right-aligned, which the graph only reads; it returns the new rows and the host
appends them. Where ESPnet keeps the inputs of the attention and projects all of them again for
every chunk, a window holds projected keys and values.

The rules of the host. Before an utterance every window is zeros and `valid` is 0. A chunk has
`frames` feature frames, of which n = `encoder_frames(frames)` encoder frames come. After it,

- encoder_out[:, :n] are the frames of the chunk,
- windows[i] = the last rows, as many as before, of windows[i] followed by new_rows[i][:, :n],
- valid = min(valid + n, left_context).

Chosen by measurement on 14 e-branchformer blocks of 256 features after VGG, chunks of 20 encoder
frames with a left context of 32, fp32, one x86-64 thread: ESPnet 43 ms a chunk, ONNX Runtime 21,
ExecuTorch 16; about 6 of these are VGG on either.
- The blocks' frames have no batch axis: a linear layer of three axes is two reshapes more in ONNX.
- The relative positions are projected once, at construction, and `align` moves scores by slices.
- The normalisations of `step_normalization`, so that all blocks are one delegate. Layer norms left
  to the runtimes' own kernels take 20 and 15 ms, where the runtime has fast ones.
See `step_convolution` for the convolutions.

Legend of the shapes: F feature_frames, M n_mels, T encoder frames of a chunk, D output_size,
L left_context, R and C rows and channels of a window.
"""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.attention import AttentionStep
from deploy_bias.export.steps.chunk import Chunk, WholeUtteranceError, WindowShape
from deploy_bias.export.steps.encoder_blocks import (
    BlockStep,
    Conv1dStep,
    attention_of,
    xformer_step,
)
from deploy_bias.export.steps.normalization import step_normalization
from deploy_bias.model.encoder.conv1d import Conv1d
from deploy_bias.model.encoder.encoder import Encoder
from deploy_bias.model.encoder.positions import relative_positions


class EncoderStep(nn.Module):
    """What ESPnet's `Encoder.chunk_forward` computes, as a graph; made from an encoder's weights.

    Like ESPnet's it drops the first and the last frame of the input block. It is a snapshot: what
    is loaded into the encoder later does not reach it. It is in eval mode, its weights need no
    gradient, and it has the dtype and device of the encoder.

    Args:
        encoder: what to encode with. Without dynamic_chunk_training its convolutions are, as in
            ESPnet, cut off at the borders of each chunk.
        feature_frames: F, the most feature frames that a chunk has.
        left_context: L, the encoder frames before a chunk that its attention sees; 0 or more.

    Attributes:
        frames: T, the most encoder frames that come of a chunk.
        window_shapes: name, R and C of each window, in their order.

    Raises:
        ValueError: F gives no encoder frame, L is negative, a conv1d block is not causal, or the
            positions are legacy.
    """

    steps_back: Tensor
    needed: Tensor

    def __init__(self, encoder: Encoder, feature_frames: int, left_context: int = 32) -> None:
        super().__init__()
        encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self.embed = encoder.embed
        self.input_size = encoder.input_size
        self.output_size = encoder.output_size
        self.feature_frames = feature_frames
        self.left_context = left_context
        self.frames = self.encoder_frames(feature_frames)
        if encoder.legacy:
            raise WholeUtteranceError("legacy positions depend on how long the utterance is.")
        if self.frames < 1:
            least = self.embed.offset + 3 * self.embed.stride
            raise ValueError(f"feature_frames must be at least {least}, got {feature_frames}.")
        if left_context < 0:
            raise ValueError(f"left_context must be 0 or more, got {left_context}.")
        like = next(encoder.parameters())
        positions = relative_positions(self.frames, left_context, self.embed.output_size, like)
        self.blocks = nn.ModuleList()
        self.window_shapes: list[WindowShape] = []
        for index, block in enumerate(encoder.encoders.blocks):
            step = _block_step(block, index, positions, left_context)
            if isinstance(block, Conv1d):
                positions = block.out_pos(positions)
            self.blocks.append(step)
            self.window_shapes += [
                shape._replace(name=f"block_{index}.{shape.name}") for shape in step.windows()
            ]
        self.norm_blocks = step_normalization(encoder.encoders.norm_blocks)
        steps_back = torch.arange(left_context, 0, -1, device=like.device)
        self.register_buffer("steps_back", steps_back)
        # How many feature frames there must be for each encoder frame.
        needed = torch.arange(3, self.frames + 3, device=like.device) * self.embed.stride
        self.register_buffer("needed", needed + self.embed.offset)
        self.requires_grad_(False)
        self.eval()

    def encoder_frames(self, feature_frames: int) -> int:
        """Return how many encoder frames come of a chunk with so many feature frames."""
        return max((feature_frames - self.embed.offset) // self.embed.stride - 2, 0)

    def forward(
        self, features: Tensor, frames: Tensor, valid: Tensor, windows: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Encode one chunk.

        Args:
            features: (1, F, M). The chunk's frames come first; what comes after them is never
                seen, whatever (finite) it is.
            frames: (1,) int64, up to F: how many of the frames are the chunk's.
            valid: (1,) int64, 0 to L: how many of the last rows of the windows of keys and values
                are known. The rows before them are never seen, whatever (finite) they hold.
            windows: (1, R, C) each; see `window_shapes`.

        Returns:
            The encoder frames (1, T, D), the chunk's first; and new rows (1, T, C) for each window.
        """
        within = self.needed <= frames
        seen = torch.cat([self.steps_back <= valid, within])
        # Added to a score, this leaves a softmax weight of exactly 0.
        least = torch.finfo(features.dtype).min
        hidden = seen.logical_not().to(features.dtype) * least
        chunk = Chunk(hidden.view(1, 1, -1), within.to(features.dtype).view(-1, 1), windows)
        x = self.embed(features, frames).view(-1, self.embed.output_size).narrow(0, 1, self.frames)
        for block in self.blocks:
            x = block(x, chunk)
        return self.norm_blocks(x).view(1, self.frames, -1), chunk.new_rows

    def example_inputs(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Return inputs of `forward`: a whole chunk of zeros, as the first of an utterance."""
        like = next(self.parameters())
        count = torch.full((1,), self.feature_frames, device=like.device)
        return (
            like.new_zeros(1, self.feature_frames, self.input_size),
            count,
            torch.zeros_like(count),
            [like.new_zeros(1, shape.rows, shape.channels) for shape in self.window_shapes],
        )


def _block_step(block: nn.Module, index: int, positions: Tensor, left_context: int) -> BlockStep:
    if isinstance(block, Conv1d):
        if not block.causal:
            raise WholeUtteranceError(
                f"block {index} is a conv1d without dynamic_chunk_training, which cannot stream: "
                "in ESPnet it gives all earlier frames again with every chunk."
            )
        return Conv1dStep(block)
    return xformer_step(block, AttentionStep(attention_of(block), positions, left_context))
