"""The multi-head damped exponential moving average of a MEGA block.

Each of the D features has H moving averages. With a = sigmoid(damping), q = 1 - a
sigmoid(decay), expansion b and projection c / sqrt(H), all of shape (D, H):

    state[t] = q state[t - 1] + a b x[t]        average[t] = sum over H of c / sqrt(H) state[t]

so the average over a whole sequence is a causal convolution with the kernel
`sum over H of a b c / sqrt(H) q ** t`. The coefficients are made anew from the parameters at
each call: nothing is kept that a later load_state_dict would leave stale.

Legend of the shapes: L length, B batch, D size, H num_heads, T kernel length.
Source: `espnet2.asr_transducer.decoder.modules.mega.multi_head_damped_ema`; MEGA is
arXiv:2209.10655.
"""

import torch
from torch import Tensor, nn


class MultiHeadDampedEMA(nn.Module):
    """Activation of the damped moving average plus a weighted residual.

    Args:
        size: D, 1 or more.
        num_heads: H, 1 or more.
        activation: an elementwise module, ReLU unless given.
        truncation_length: how many inputs `forward` averages over, 1 or more; None is all of
            them. `step`, like ESPnet's decoding, averages over all of them in either case.

    Raises:
        ValueError: a number is less than 1.
    """

    def __init__(
        self,
        size: int,
        num_heads: int = 4,
        activation: nn.Module | None = None,
        truncation_length: int | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("size", size),
            ("num_heads", num_heads),
            ("truncation_length", 1 if truncation_length is None else truncation_length),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.num_heads = num_heads
        self.truncation_length = truncation_length
        self.activation = nn.ReLU() if activation is None else activation
        self.damping_factor = nn.Parameter(torch.empty(size, num_heads, 1))
        self.decay_factor = nn.Parameter(torch.empty(size, num_heads, 1))
        self.ema_expansion_matrix = nn.Parameter(torch.empty(size, num_heads, 1))
        self.kernel_projection_matrix = nn.Parameter(torch.empty(size, num_heads))
        self.residual_weight = nn.Parameter(torch.empty(size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, val: float = 0.0, std1: float = 0.2, std2: float = 1.0) -> None:
        """Draw factors from normal(val, std1), weights from normal(val, std2), as ESPnet does.

        The expansion is drawn about 1 for even heads and about -1 for odd ones.
        """
        nn.init.normal_(self.damping_factor, val, std1)
        nn.init.normal_(self.decay_factor, val, std1)
        nn.init.normal_(self.ema_expansion_matrix, val, 0.02)
        self.ema_expansion_matrix[:, 0::2] += 1.0
        self.ema_expansion_matrix[:, 1::2] -= 1.0
        nn.init.normal_(self.kernel_projection_matrix, val, std2)
        nn.init.normal_(self.residual_weight, val, std2)

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the input weight a b, the decay q and the output weight c / sqrt(H), (D, H)."""
        damping = torch.sigmoid(self.damping_factor)
        decay = 1.0 - damping * torch.sigmoid(self.decay_factor)
        input_weight = damping * self.ema_expansion_matrix
        output_weight = self.kernel_projection_matrix * self.num_heads**-0.5
        return input_weight.squeeze(-1), decay.squeeze(-1), output_weight

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Average whole sequences.

        Args:
            x: (L, B, D).
            mask: (B, 1, L) bool, True where an input is left out of the averages (and not out
                of the residual).

        Returns:
            (L, B, D), in the dtype of `x`.
        """
        inputs = x.permute(1, 2, 0)
        if mask is not None:
            inputs = inputs.masked_fill(mask, 0.0)
        length = x.size(0)
        if self.truncation_length is not None:
            length = min(length, self.truncation_length)
        input_weight, decay, output_weight = self.coefficients()
        # The oldest lag first: the order in which a convolution reads its weights.
        lag = torch.arange(length - 1, -1, -1, device=x.device)
        powers = decay.unsqueeze(-1) ** lag
        kernel = ((input_weight * output_weight).unsqueeze(-1) * powers).sum(1)
        average = causal_convolution(inputs, kernel)
        out: Tensor = self.activation(average.permute(2, 0, 1) + x * self.residual_weight)
        return out

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Average one more input.

        Args:
            x: (B, D).
            state: (B, D, H): zeros before the first input.

        Returns:
            The output (B, D), and the next state (B, D, H).
        """
        input_weight, decay, output_weight = self.coefficients()
        state = decay * state + input_weight * x.unsqueeze(-1)
        average = (state * output_weight).sum(-1)
        return self.activation(average + x * self.residual_weight), state


def causal_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve each feature with its own kernel, zeros before the first input.

    Args:
        x: (B, D, L).
        kernel: (D, T), T from 1 to L, the oldest lag first.

    Returns:
        (B, D, L): y[t] = sum over s of kernel[T - 1 - s] x[t - s].
    """
    if torch.compiler.is_exporting():
        return convolution_direct(x, kernel)
    return convolution_by_fft(x, kernel)


def convolution_direct(x: Tensor, kernel: Tensor) -> Tensor:
    """`causal_convolution` as a depthwise convolution: no runtime for devices has an FFT."""
    padded = nn.functional.pad(x, (kernel.size(-1) - 1, 0))
    return nn.functional.conv1d(padded, kernel.unsqueeze(1), groups=kernel.size(0))


def convolution_by_fft(x: Tensor, kernel: Tensor) -> Tensor:
    """`causal_convolution` by FFT: eager torch is faster with it from about 100 inputs on.

    One CPU thread, D = 256: 0.3 ms against 0.4 for 256 inputs, 2.7 against 7.4 for 1,024; and
    0.07 against 0.07 for 64.
    """
    length = x.size(-1)
    # A CPU has no FFT in half precision.
    wide = torch.promote_types(x.dtype, torch.float32)
    spectrum = torch.fft.rfft(x.to(wide), n=2 * length)
    spectrum = spectrum * torch.fft.rfft(kernel.flip(-1).to(wide), n=2 * length)
    y: Tensor = torch.fft.irfft(spectrum, n=2 * length)
    return y[..., :length].to(x.dtype)
