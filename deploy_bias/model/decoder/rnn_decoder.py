"""The recurrent decoder of ESPnet's `asr_transducer`: LSTM or GRU.

Legend of the shapes: B batch, L labels, E embed_size, H hidden_size.
Source: `espnet2.asr_transducer.decoder.rnn_decoder`.
"""

from torch import Tensor, nn

from deploy_bias.model.decoder.label_embedding import check_labels, label_embedding

RNN_TYPES: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RNNDecoder(nn.Module):
    """Label embedding and recurrent layers.

    Args:
        vocab_size: labels, blank included.
        embed_size: E.
        hidden_size: H.
        rnn_type: "lstm" or "gru".
        num_layers: recurrent layers, 1 or more.
        dropout_rate: of what each layer gives, in training.
        embed_dropout_rate: of the embedding, in training.
        embed_pad: the label that is padding, 0 to vocab_size - 1.

    Raises:
        ValueError: an option is unknown or out of its range.
    """

    def __init__(
        self,
        vocab_size: int,
        embed_size: int = 256,
        hidden_size: int = 256,
        rnn_type: str = "lstm",
        num_layers: int = 1,
        dropout_rate: float = 0.0,
        embed_dropout_rate: float = 0.0,
        embed_pad: int = 0,
    ) -> None:
        super().__init__()
        if rnn_type not in RNN_TYPES:
            raise ValueError(f"rnn_type must be one of {', '.join(RNN_TYPES)}, got {rnn_type!r}.")
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}.")
        self.vocab_size = vocab_size
        self.output_size = hidden_size
        self.rnn_type = rnn_type
        self.num_layers = num_layers
        self.pad_idx = embed_pad
        self.embed = label_embedding(vocab_size, embed_size, embed_pad)
        self.dropout_embed = nn.Dropout(embed_dropout_rate)
        # Layers of their own, and not one module of several: the state_dict has them so.
        self.rnn = nn.ModuleList(
            RNN_TYPES[rnn_type](size, hidden_size, batch_first=True)
            for size in (embed_size, *[hidden_size] * (num_layers - 1))
        )
        self.dropout_rnn = nn.Dropout(dropout_rate)

    def forward(self, labels: Tensor) -> Tensor:
        """Compute whole label sequences.

        Args:
            labels: (B, L) int64, 0 to vocab_size - 1.

        Returns:
            (B, L, H).

        Raises:
            ValueError: `labels` has not two axes.
        """
        check_labels(labels)
        x: Tensor = self.dropout_embed(self.embed(labels))
        for layer in self.rnn:
            x = self.dropout_rnn(layer(x)[0])
        return x
