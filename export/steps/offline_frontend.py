"""The features of a whole utterance as a graph of a dynamic length.

A frame's Fourier transform is a convolution: its kernels are the windowed cosines and sines, its
stride is hop_length. So no index and no frame is made, and all but the reflection of the edges is
delegated to XNNPACK, which has no transform of its own.

Legend of the shapes: S samples, F frames, M n_mels.
"""

import copy

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.frontend import fourier_transform
from deploy_bias.model.frontend.default import LEAST_POWER, DefaultFrontend
from deploy_bias.model.frontend.mvn import GlobalMVN, UtteranceMVN


class OfflineFrontendStep(nn.Module):
    """Samples to normalised features; made from a frontend's weights, a snapshot in eval mode.

    Args:
        frontend: the eager frontend.
        normalize: what follows it.
    """

    cosines: Tensor
    sines: Tensor
    mel: Tensor

    def __init__(
        self, frontend: DefaultFrontend, normalize: GlobalMVN | UtteranceMVN | None
    ) -> None:
        super().__init__()
        self.hop_length = frontend.hop_length
        self.edge = frontend.n_fft // 2 if frontend.center else 0
        melmat = frontend.logmel.melmat
        # Two convolutions: XNNPACK takes no halves of a tensor of a dynamic length.
        for name, kernels in zip(("cosines", "sines"), fourier_transform(frontend), strict=True):
            self.register_buffer(name, kernels.unsqueeze(1).to(melmat))
        self.register_buffer("mel", melmat.mT.clone(memory_format=torch.contiguous_format))
        self.normalize = copy.deepcopy(normalize)
        self.requires_grad_(False)
        self.eval()

    def forward(self, samples: Tensor) -> Tensor:
        """(1, S) in [-1, 1) to (1, F, M)."""
        if self.edge:
            # ExecuTorch would reflect by an index of every sample.
            left = samples.narrow(1, 1, self.edge)
            right = samples.narrow(1, samples.size(1) - self.edge - 1, self.edge)
            samples = torch.cat([left.flip(1), samples, right.flip(1)], dim=1)
        x = samples.unsqueeze(1)
        real = nn.functional.conv1d(x, self.cosines, stride=self.hop_length)
        imaginary = nn.functional.conv1d(x, self.sines, stride=self.hop_length)
        power = (real * real + imaginary * imaginary).transpose(1, 2)
        x = nn.functional.linear(power, self.mel).clamp(min=LEAST_POWER).log()
        return x if self.normalize is None else self.normalize(x)
