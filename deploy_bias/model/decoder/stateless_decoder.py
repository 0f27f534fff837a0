"""The stateless decoder of ESPnet's `asr_transducer`: an embedding of the last label.

Legend of the shapes: B batch, L labels, E embed_size.
Source: `espnet2.asr_transducer.decoder.stateless_decoder`.
"""

from torch import Tensor, nn

from deploy_bias.model.decoder.label_embedding import check_labels, label_embedding


class StatelessDecoder(nn.Module):
    """Label embedding alone.

    Args:
        vocab_size: labels, blank included.
        embed_size: E.
        embed_dropout_rate: of the embedding, in training.
        embed_pad: the label that is padding, 0 to vocab_size - 1.

    Raises:
        ValueError: an option is out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int = 256,
        embed_dropout_rate: float = 0.0,
        embed_pad: int = 0,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.output_size = embed_size
        self.pad_idx = embed_pad
        self.embed = label_embedding(vocab_size, embed_size, embed_pad)
        self.dropout_embed = nn.Dropout(embed_dropout_rate)

    def forward(self, labels: Tensor) -> Tensor:
        """Compute whole label sequences.

        Args:
            labels: (B, L) int64, 0 to vocab_size - 1.

        Returns:
            (B, L, E).

        Raises:
            ValueError: `labels` has not two axes.
        """
        check_labels(labels)
        out: Tensor = self.dropout_embed(self.embed(labels))
        return out
