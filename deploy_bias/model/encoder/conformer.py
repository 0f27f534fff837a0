"""The conformer block.

Source: `espnet2.asr_transducer.encoder.blocks.conformer`; the conformer is arXiv:2005.08100.
"""

from torch import Tensor, nn

from deploy_bias.model.encoder.attention import RelPositionMultiHeadedAttention
from deploy_bias.model.encoder.convolution import ConformerConvolution
from deploy_bias.model.encoder.feed_forward import PositionwiseFeedForward
from deploy_bias.model.encoder.options import BlockOptions


class Conformer(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward; each on top of its input.

    Args:
        options: the block's entry of `body_conf`.
        conv_mod_norm_eps: of the batch normalisation.
    """

    def __init__(self, options: BlockOptions, conv_mod_norm_eps: float = 1e-5) -> None:
        super().__init__()
        main, size = options.main, options.hidden_size
        self.self_att = RelPositionMultiHeadedAttention(
            options.heads, size, main.simplified_att_score
        )
        self.feed_forward = PositionwiseFeedForward(
            size, options.linear_size, main.pos_wise_activation()
        )
        self.feed_forward_macaron = PositionwiseFeedForward(
            size, options.linear_size, main.pos_wise_activation()
        )
        self.conv_mod = ConformerConvolution(
            size,
            options.conv_mod_kernel_size,
            main.conv_mod_activation(),
            conv_mod_norm_eps,
            main.causal,
        )
        self.norm_feed_forward = options.norm()
        self.norm_self_att = options.norm()
        self.norm_macaron = options.norm()
        self.norm_conv = options.norm()
        self.norm_final = options.norm()

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """(B, T, D), (1, 2 T - 1, D) and (B, T) bool, True at padding, to (B, T, D)."""
        x = x + 0.5 * self.feed_forward_macaron(self.norm_macaron(x))
        x = x + self.self_att(self.norm_self_att(x), positions, padding)
        x = x + self.conv_mod(self.norm_conv(x), padding)
        x = x + 0.5 * self.feed_forward(self.norm_feed_forward(x))
        out: Tensor = self.norm_final(x)
        return out
