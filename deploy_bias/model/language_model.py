"""ESPnet's recurrent language model, for inference and export."""

from typing import Any

from torch import Tensor, nn

LAYERS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": nn.RNN,
}


class SequentialRNNLM(nn.Module):
    """ESPnet's `seq_rnn`: labels so far to logits of the next one.

    It has ESPnet's options and state_dict; the dropout is left out.

    Args:
        vocab_size: V.
        unit: of the embedding.
        nhid: of a layer; None is `unit`.
        nlayers: layers.
        dropout_rate: of training.
        tie_weights: of training: the checkpoint holds both of the weights that were one.
        rnn_type: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        ignore_id: the label of padding.

    Raises:
        ValueError: rnn_type is unknown, or nlayers less than 1.
    """

    def __init__(
        self,
        vocab_size: int,
        unit: int = 650,
        nhid: int | None = None,
        nlayers: int = 2,
        dropout_rate: float = 0.0,
        tie_weights: bool = False,
        rnn_type: str = "lstm",
        ignore_id: int = 0,
    ) -> None:
        super().__init__()
        kind = rnn_type.lower()
        if kind not in LAYERS:
            raise ValueError(f"rnn_type must be one of {', '.join(LAYERS)}, got {rnn_type!r}.")
        if nlayers < 1:
            raise ValueError(f"nlayers must be at least 1, got {nlayers}.")
        self.vocab_size = vocab_size
        self.hidden_size = unit if nhid is None else nhid
        self.num_layers = nlayers
        self.rnn_type = kind
        more = {"nonlinearity": kind.removeprefix("rnn_")} if LAYERS[kind] is nn.RNN else {}
        self.encoder = nn.Embedding(vocab_size, unit, padding_idx=ignore_id)
        self.rnn = LAYERS[kind](unit, self.hidden_size, nlayers, batch_first=True, **more)
        self.decoder = nn.Linear(self.hidden_size, vocab_size)

    def forward(self, labels: Tensor) -> Tensor:
        """Return the logits (B, L, V) after each of the labels (B, L) int64, sos first."""
        out: Tensor = self.decoder(self.rnn(self.encoder(labels))[0])
        return out

    def layers(self) -> list[nn.RNNBase]:
        """Return each layer as a module of one layer that shares its parameters."""
        found = []
        for index in range(self.num_layers):
            size = self.encoder.embedding_dim if index == 0 else self.hidden_size
            more = {"nonlinearity": self.rnn.nonlinearity} if isinstance(self.rnn, nn.RNN) else {}
            layer = LAYERS[self.rnn_type](size, self.hidden_size, batch_first=True, **more)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                setattr(layer, f"{name}_l0", getattr(self.rnn, f"{name}_l{index}"))
            found.append(layer)
        return found
