"""The MEGA decoder (prediction network) of ESPnet's `asr_transducer`.

Legend of the shapes: B batch, L labels, D block_size.
Source: `espnet2.asr_transducer.decoder.mega_decoder`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from deploy_bias.model.activation import get_activation
from deploy_bias.model.decoder.feed_forward import NormalizedPositionwiseFeedForward
from deploy_bias.model.decoder.label_embedding import check_labels, label_embedding
from deploy_bias.model.decoder.mega import MEGA
from deploy_bias.model.normalization import get_normalization


class MEGADecoder(nn.Module):
    """Label embedding, MEGA blocks with their feed-forward halves, and a last normalisation.

    `forward` is ESPnet's training path, over whole label sequences. For decoding, one label at
    a time, see `deploy_bias.export.steps.mega_decoder.MEGADecoderStep`.

    Args:
        vocab_size: labels, blank included.
        block_size: D.
        linear_size: hidden features of the feed-forward halves.
        qk_size: features of a query and of a key.
        v_size: features of a value.
        num_heads: moving averages of each feature.
        rel_pos_bias_type: "simple" or "rotary".
        max_positions: the labels that one query can attend to, itself included.
        truncation_length: how many labels the moving averages are over in `forward` (None: all).
        normalization_type: see `deploy_bias.model.normalization.get_normalization`.
        normalization_args: options of the normalisation, see the same.
        activation_type: see `deploy_bias.model.activation.get_activation`.
        activation_args: options of the activation, see the same.
        chunk_size: attention within chunks of so many labels, and in the place of
            max_positions; no chunks when it is 0 or less.
        num_blocks: blocks, 1 or more.
        dropout_rate: see `MEGA`.
        embed_dropout_rate: of the embedding, in training.
        att_dropout_rate: see `MEGA`.
        ema_dropout_rate: see `MEGA`.
        ffn_dropout_rate: of the feed-forward halves, in training.
        embed_pad: the label that is padding, 0 to vocab_size - 1.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is unknown or out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: int = 512,
        linear_size: int = 1024,
        qk_size: int = 128,
        v_size: int = 1024,
        num_heads: int = 4,
        rel_pos_bias_type: str = "simple",
        max_positions: int = 2048,
        truncation_length: int | None = None,
        normalization_type: str = "layer_norm",
        normalization_args: Mapping[str, Any] | None = None,
        activation_type: str = "swish",
        activation_args: Mapping[str, Any] | None = None,
        chunk_size: int = -1,
        num_blocks: int = 4,
        dropout_rate: float = 0.0,
        embed_dropout_rate: float = 0.0,
        att_dropout_rate: float = 0.0,
        ema_dropout_rate: float = 0.0,
        ffn_dropout_rate: float = 0.0,
        embed_pad: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("chunk_size", chunk_size), ("max_positions", max_positions)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {value!r}.")
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {num_blocks}.")
        self.vocab_size = vocab_size
        self.output_size = block_size
        self.chunk_size = chunk_size
        self.num_blocks = num_blocks
        self.pad_idx = embed_pad
        # The keys that a query can attend to, itself included.
        self.positions = chunk_size if chunk_size > 0 else max_positions

        activation = get_activation(activation_type, **(activation_args or {}))

        def normalization() -> nn.Module:
            return get_normalization(normalization_type, block_size, **(normalization_args or {}))

        self.embed = label_embedding(vocab_size, block_size, embed_pad)
        self.dropout_embed = nn.Dropout(embed_dropout_rate)
        self.mega_blocks = nn.ModuleList()
        for _ in range(num_blocks):
            mega = MEGA(
                block_size,
                num_heads=num_heads,
                qk_size=qk_size,
                v_size=v_size,
                activation=activation,
                normalization=normalization(),
                rel_pos_bias_type=rel_pos_bias_type,
                max_positions=max_positions,
                truncation_length=truncation_length,
                chunk_size=chunk_size,
                dropout_rate=dropout_rate,
                att_dropout_rate=att_dropout_rate,
                ema_dropout_rate=ema_dropout_rate,
            )
            feed_forward = NormalizedPositionwiseFeedForward(
                block_size, linear_size, normalization(), activation, ffn_dropout_rate
            )
            self.mega_blocks.append(nn.ModuleList([mega, feed_forward]))
        self.final_norm = normalization()

    def blocks(self) -> Iterator[tuple[MEGA, NormalizedPositionwiseFeedForward]]:
        """Yield the two halves of each block, first block first."""
        for halves in self.mega_blocks:
            mega, feed_forward = halves.children()
            yield cast("MEGA", mega), cast("NormalizedPositionwiseFeedForward", feed_forward)

    def forward(self, labels: Tensor) -> Tensor:
        """Compute whole label sequences.

        Args:
            labels: (B, L) int64, 0 to vocab_size - 1. embed_pad is padding, except as the first
                label of a sequence (in a transducer it is blank there, the usual start).

        Returns:
            (B, L, D).

        Raises:
            ValueError: `labels` has not two axes, or L is more than max_positions, without
                chunks.
        """
        check_labels(labels)
        length = labels.size(1)
        context = length
        if 0 < self.chunk_size < length:
            context = self.chunk_size
            labels = nn.functional.pad(labels, (0, -length % context), value=self.pad_idx)
        position = torch.arange(labels.size(1), device=labels.device)
        mask = ((labels == self.pad_idx) & (position > 0)).unsqueeze(1)
        later = (position[:context] > position[:context, None]).unsqueeze(0)

        x = self.dropout_embed(self.embed(labels)).transpose(0, 1)
        for mega, feed_forward in self.blocks():
            x = feed_forward(mega(x, mask, later))
        out: Tensor = self.final_norm(x).transpose(0, 1)
        return out[:, :length]
