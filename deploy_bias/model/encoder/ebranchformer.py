"""The e-branchformer block.

Source: `espnet2.asr_transducer.encoder.blocks.ebranchformer`; the e-branchformer is
arXiv:2210.00077.
"""

import torch
from torch import Tensor, nn

from deploy_bias.model.encoder.attention import RelPositionMultiHeadedAttention
from deploy_bias.model.encoder.convolution import (
    ConvolutionalSpatialGatingUnit,
    DepthwiseConvolution,
)
from deploy_bias.model.encoder.feed_forward import PositionwiseFeedForward
from deploy_bias.model.encoder.options import BlockOptions


class EBranchformer(nn.Module):
    """A branchformer merged by a convolution, between the halves of a feed-forward.

    Args:
        options: the block's entry of `body_conf`.
    """

    def __init__(self, options: BlockOptions) -> None:
        super().__init__()
        main, size = options.main, options.hidden_size
        linear_size, gated_size = options.linear_size, options.cgmlp_linear_units
        self.self_att = RelPositionMultiHeadedAttention(
            options.heads, size, main.simplified_att_score
        )
        self.feed_forward = PositionwiseFeedForward(size, linear_size, main.pos_wise_activation())
        self.feed_forward_macaron = PositionwiseFeedForward(
            size, linear_size, main.pos_wise_activation()
        )
        self.conv_mod = ConvolutionalSpatialGatingUnit(
            gated_size, options.conv_mod_kernel_size, options.conv_mod_norm(), main.causal
        )
        self.depthwise_conv_mod = DepthwiseConvolution(
            size, options.depth_conv_kernel_size, main.causal
        )
        self.channel_proj1 = nn.Sequential(nn.Linear(size, gated_size), nn.GELU())
        self.channel_proj2 = nn.Linear(gated_size // 2, size)
        self.merge_proj = nn.Linear(2 * size, size)
        self.norm_self_att = options.norm()
        self.norm_feed_forward = options.norm()
        self.norm_feed_forward_macaron = options.norm()
        self.norm_mlp = options.norm()
        self.norm_final = options.norm()

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """(B, T, D), (1, 2 T - 1, D) and (B, T) bool, True at padding, to (B, T, D)."""
        x = x + 0.5 * self.feed_forward_macaron(self.norm_feed_forward_macaron(x))
        attended = self.self_att(self.norm_self_att(x), positions, padding)
        gated = self.conv_mod(self.channel_proj1(self.norm_mlp(x)), padding)
        both = torch.cat([attended, self.channel_proj2(gated)], dim=-1)
        x = x + self.merge_proj(both + self.depthwise_conv_mod(both, padding))
        x = x + 0.5 * self.feed_forward(self.norm_feed_forward(x))
        out: Tensor = self.norm_final(x)
        return out
