"""The features of a fixed number of frames as a graph with static shapes.

The samples come with all that the first and the last frame need, so nothing in the graph is about
edges: the host keeps the samples that frames share, and reflects the edges of the utterance.

Chosen by measurement, seven settings (n_fft 200 to 1024), against ESPnet's float32 frontend:
- The discrete Fourier transform is two products with the windowed cosines and sines, computed in
  float64 and rounded once. Its largest distance to float64 over eight recordings is 0.4 to 1.4
  times that of ESPnet, whose transform is a fast one, but under a window computed in float32; on
  ExecuTorch 0.4 to 0.7 times. Folding the symmetric halves of a frame is no nearer, and XNNPACK
  has no operator that reverses.
- Frames are slices of the samples in rows of hop_length, side by side: all is delegated to XNNPACK.
  A convolution is undelegated in part and needs twice the file; 640 ms of audio at 8 kHz take it
  0.06 ms on one x86-64 thread, and 0.05 as here.

Legend of the shapes: F frames, S = (F - 1) hop_length + n_fft samples, M n_mels.
"""

import copy
import math

import torch
from torch import Tensor, nn

from deploy_bias.export.steps.chunk import WholeUtteranceError
from deploy_bias.model.frontend.default import LEAST_POWER, DefaultFrontend
from deploy_bias.model.frontend.mvn import GlobalMVN, UtteranceMVN


class FrontendStep(nn.Module):
    """Samples to normalised features, for F frames; made from a frontend's weights.

    It is a snapshot: what is loaded into the frontend later does not reach it. It has the dtype
    and device of the frontend's mel matrix.

    Args:
        frontend: with centred frames.
        normalize: GlobalMVN or None.
        frames: F.

    Raises:
        ValueError: `normalize` is over the utterance, the frames are not centred, or `frames` is
            less than 1.
    """

    cosines: Tensor
    sines: Tensor
    mel: Tensor

    def __init__(
        self,
        frontend: DefaultFrontend,
        normalize: GlobalMVN | UtteranceMVN | None,
        frames: int,
    ) -> None:
        super().__init__()
        if isinstance(normalize, UtteranceMVN):
            raise WholeUtteranceError(
                "normalize utterance_mvn cannot stream: it needs the whole utterance. Only a model "
                "with global_mvn or without normalisation can."
            )
        if not frontend.center:
            raise WholeUtteranceError(
                "center must be true to stream: chunks are cut for centred frames."
            )
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}.")
        self.frames = frames
        self.n_fft = frontend.n_fft
        self.hop_length = frontend.hop_length
        self.samples = (frames - 1) * self.hop_length + self.n_fft
        self.rows = math.ceil(self.n_fft / self.hop_length)
        melmat = frontend.logmel.melmat
        for name, constant in zip(
            ("cosines", "sines", "mel"), (*fourier_transform(frontend), melmat.mT), strict=True
        ):
            self.register_buffer(
                name, constant.to(melmat).detach().clone(memory_format=torch.contiguous_format)
            )
        self.normalize = copy.deepcopy(normalize)
        self.requires_grad_(False)
        self.eval()

    def forward(self, samples: Tensor) -> Tensor:
        """Compute all frames.

        Args:
            samples: (1, S) float in [-1, 1). Frame f is the n_fft samples from f hop_length on.

        Returns:
            (1, F, M).
        """
        filler = self.rows * self.hop_length - self.n_fft
        if filler:
            samples = nn.functional.pad(samples, (0, filler))
        hops = samples.view(1, self.frames + self.rows - 1, self.hop_length)
        framed = torch.cat([hops.narrow(1, row, self.frames) for row in range(self.rows)], -1)
        if filler:
            framed = framed.narrow(2, 0, self.n_fft)
        real = nn.functional.linear(framed, self.cosines)
        imaginary = nn.functional.linear(framed, self.sines)
        power = real * real + imaginary * imaginary
        x = nn.functional.linear(power, self.mel).clamp(min=LEAST_POWER).log()
        return x if self.normalize is None else self.normalize(x)

    def example_inputs(self) -> tuple[Tensor]:
        """Return inputs of `forward`: silence."""
        return (torch.zeros(1, self.samples, dtype=self.mel.dtype, device=self.mel.device),)


def fourier_transform(frontend: DefaultFrontend) -> tuple[Tensor, Tensor]:
    """Return the windowed cosines and sines, (n_fft // 2 + 1, n_fft) float64 each."""
    size = frontend.n_fft
    left = (size - frontend.win_length) // 2
    window = torch.zeros(size, dtype=torch.float64)
    window[left : left + frontend.win_length] = frontend.window(torch.float64)
    if frontend.normalized:
        window /= math.sqrt(size)
    # The product reduced to one turn keeps the angle exact to the last digit.
    turns = torch.outer(torch.arange(size // 2 + 1), torch.arange(size)) % size
    angles = turns.double() * (2 * math.pi / size)
    return angles.cos() * window, angles.sin() * window
