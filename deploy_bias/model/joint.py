"""The joint network of ESPnet's `asr_transducer`.

Source: `espnet2.asr_transducer.joint_network`.
"""

from torch import Tensor, nn

from deploy_bias.model.activation import get_activation


class JointNetwork(nn.Module):
    """Logits of the next label from an encoder frame and a decoder output.

    Args:
        output_size: the vocabulary size, blank included.
        encoder_size: features of an encoder frame.
        decoder_size: features of a decoder output.
        joint_space_size: features of the space where the two are added.
        joint_activation_type: see `deploy_bias.model.activation.get_activation`.
        lin_dec_bias: whether the projection of the decoder output has a bias.
        activation_parameters: options of the activation, see the same.

    Raises:
        ValueError: the activation or one of its options is unknown.
    """

    def __init__(
        self,
        output_size: int,
        encoder_size: int,
        decoder_size: int,
        joint_space_size: int = 256,
        joint_activation_type: str = "tanh",
        lin_dec_bias: bool = True,
        **activation_parameters: float,
    ) -> None:
        super().__init__()
        self.lin_enc = nn.Linear(encoder_size, joint_space_size)
        self.lin_dec = nn.Linear(decoder_size, joint_space_size, bias=lin_dec_bias)
        self.lin_out = nn.Linear(joint_space_size, output_size)
        self.joint_activation = get_activation(joint_activation_type, **activation_parameters)

    def forward(self, enc_out: Tensor, dec_out: Tensor, no_projection: bool = False) -> Tensor:
        """Compute the logits; the leading axes of the two inputs broadcast.

        Args:
            enc_out: (..., encoder_size), as (B, T, 1, encoder_size) in training and
                (B, encoder_size) in decoding; (..., joint_space_size) with `no_projection`.
            dec_out: (..., decoder_size), as (B, 1, U, decoder_size) in training and
                (B, decoder_size) in decoding; (..., joint_space_size) with `no_projection`.
            no_projection: the inputs are in the joint space already.

        Returns:
            (..., output_size), not normalised.
        """
        if not no_projection:
            enc_out, dec_out = self.lin_enc(enc_out), self.lin_dec(dec_out)
        logits: Tensor = self.lin_out(self.joint_activation(enc_out + dec_out))
        return logits
