"""The branchformer block.

Source: `espnet2.asr_transducer.encoder.blocks.branchformer`; the branchformer is arXiv:2207.02971.
"""

import torch
from torch import Tensor, nn

from deploy_bias.model.encoder.attention import RelPositionMultiHeadedAttention
from deploy_bias.model.encoder.convolution import ConvolutionalSpatialGatingUnit
from deploy_bias.model.encoder.options import BlockOptions


class Branchformer(nn.Module):
    """Attention beside a convolutionally gated multilayer perceptron, merged by a linear layer.

    Args:
        options: the block's entry of `body_conf`.
    """

    def __init__(self, options: BlockOptions) -> None:
        super().__init__()
        main, size, gated_size = options.main, options.hidden_size, options.cgmlp_linear_units
        self.self_att = RelPositionMultiHeadedAttention(
            options.heads, size, main.simplified_att_score
        )
        self.conv_mod = ConvolutionalSpatialGatingUnit(
            gated_size, options.conv_mod_kernel_size, options.conv_mod_norm(), main.causal
        )
        self.channel_proj1 = nn.Sequential(nn.Linear(size, gated_size), nn.GELU())
        self.channel_proj2 = nn.Linear(gated_size // 2, size)
        self.merge_proj = nn.Linear(2 * size, size)
        self.norm_self_att = options.norm()
        self.norm_mlp = options.norm()
        self.norm_final = options.norm()

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """(B, T, D), (1, 2 T - 1, D) and (B, T) bool, True at padding, to (B, T, D)."""
        attended = self.self_att(self.norm_self_att(x), positions, padding)
        gated = self.conv_mod(self.channel_proj1(self.norm_mlp(x)), padding)
        both = torch.cat([attended, self.channel_proj2(gated)], dim=-1)
        out: Tensor = self.norm_final(x + self.merge_proj(both))
        return out
