"""The RWKV decoder of ESPnet's `asr_transducer`.

Legend of the shapes: B batch, L labels, D block_size.
Source: `espnet2.asr_transducer.decoder.rwkv_decoder`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn

from deploy_bias.model.decoder.label_embedding import check_labels, label_embedding
from deploy_bias.model.decoder.rwkv import RWKV
from deploy_bias.model.normalization import get_normalization


class RWKVDecoder(nn.Module):
    """Label embedding, RWKV blocks, a normalisation before them and one behind.

    `forward` is ESPnet's training path, over whole label sequences. For decoding, one label at
    a time, see `deploy_bias.export.steps.rwkv_decoder.RWKVDecoderStep`.

    Args:
        vocab_size: labels, blank included.
        block_size: D.
        context_size: the most labels of a sequence in `forward`; decoding has no limit.
        linear_size: hidden features of the feed-forward halves; None is 4 D.
        attention_size: features of keys and values, 2 or more; None is D.
        normalization_type: see `deploy_bias.model.normalization.get_normalization`.
        normalization_args: options of the normalisation, see the same.
        num_blocks: blocks, 2 or more (ESPnet divides by num_blocks - 1).
        rescale_every: after how many blocks ESPnet's `Speech2Text` halves what they give, never
            if 0 or less; training, and so `forward`, does not.
        embed_dropout_rate: of the embedding, in training.
        att_dropout_rate: see `RWKV`.
        ffn_dropout_rate: see `RWKV`.
        embed_pad: the label that is padding, 0 to vocab_size - 1.

    Raises:
        TypeError: an option is of the wrong type.
        ValueError: an option is unknown or out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        block_size: int = 512,
        context_size: int = 1024,
        linear_size: int | None = None,
        attention_size: int | None = None,
        normalization_type: str = "layer_norm",
        normalization_args: Mapping[str, Any] | None = None,
        num_blocks: int = 4,
        rescale_every: int = 0,
        embed_dropout_rate: float = 0.0,
        att_dropout_rate: float = 0.0,
        ffn_dropout_rate: float = 0.0,
        embed_pad: int = 0,
    ) -> None:
        super().__init__()
        linear_size = 4 * block_size if linear_size is None else linear_size
        attention_size = block_size if attention_size is None else attention_size
        for name, value in (("num_blocks", num_blocks), ("attention_size", attention_size)):
            if value < 2:
                raise ValueError(f"{name} must be at least 2, got {value}.")
        self.vocab_size = vocab_size
        self.output_size = block_size
        self.attention_size = attention_size
        self.context_size = context_size
        self.num_blocks = num_blocks
        self.rescale_every = rescale_every
        self.pad_idx = embed_pad

        def normalization() -> nn.Module:
            return get_normalization(normalization_type, block_size, **(normalization_args or {}))

        self.embed = label_embedding(vocab_size, block_size, embed_pad)
        self.dropout_embed = nn.Dropout(embed_dropout_rate)
        self.rwkv_blocks = nn.ModuleList(
            RWKV(
                block_size,
                linear_size,
                attention_size,
                block_id,
                num_blocks,
                normalization_att=normalization(),
                normalization_ffn=normalization(),
                att_dropout_rate=att_dropout_rate,
                ffn_dropout_rate=ffn_dropout_rate,
            )
            for block_id in range(num_blocks)
        )
        self.embed_norm = normalization()
        self.final_norm = normalization()

    def blocks(self) -> Iterator[RWKV]:
        """Yield the blocks, the first one first."""
        for block in self.rwkv_blocks:
            yield cast("RWKV", block)

    def forward(self, labels: Tensor) -> Tensor:
        """Compute whole label sequences.

        Args:
            labels: (B, L) int64, 0 to vocab_size - 1.

        Returns:
            (B, L, D).

        Raises:
            ValueError: `labels` has not two axes, or L is more than context_size.
        """
        check_labels(labels)
        length = labels.size(1)
        if length > self.context_size:
            raise ValueError(
                f"at most context_size = {self.context_size} labels fit, got {length}."
            )
        x = self.dropout_embed(self.embed_norm(self.embed(labels)))
        for block in self.blocks():
            x = block(x)
        out: Tensor = self.final_norm(x)
        return out
