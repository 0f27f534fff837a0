"""What every decoder is fed with: labels, and an embedding for each.

Legend of the shapes: B batch, L labels.
"""

from torch import Tensor, nn


def label_embedding(vocab_size: int, size: int, embed_pad: int) -> nn.Embedding:
    """Make the embedding of a decoder.

    Args:
        vocab_size: labels, blank included.
        size: features of an embedding.
        embed_pad: the label that is padding, whose row starts as zeros and takes no gradient.

    Raises:
        ValueError: `embed_pad` is not 0 to vocab_size - 1.
    """
    if not 0 <= embed_pad < vocab_size:
        raise ValueError(f"embed_pad must be 0 to {vocab_size - 1}, got {embed_pad}.")
    return nn.Embedding(vocab_size, size, padding_idx=embed_pad)


def check_labels(labels: Tensor) -> None:
    """Raise a ValueError unless `labels` is (B, L)."""
    if labels.dim() != 2:
        raise ValueError(f"labels must be (batch, length), got shape {tuple(labels.shape)}.")
