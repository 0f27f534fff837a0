"""What the contract of a graph says to its host besides inputs, outputs and state, by kind."""

from pydantic import Field, NonNegativeInt, PositiveInt

from deploy_bias.bundle.chunking import Chunking
from deploy_bias.bundle.contract import Strict


class FrontendSettings(Strict):
    """Of the kinds `frontend` and `offline_frontend`.

    fs: samples a second. n_fft, hop_length, decoding_window: samples.
    """

    fs: PositiveInt
    n_fft: PositiveInt
    hop_length: PositiveInt
    decoding_window: PositiveInt
    subsampling_factor: PositiveInt

    @property
    def chunking(self) -> Chunking:
        """How streaming cuts samples into chunks.

        Raises:
            OptionError: they cannot be cut so.
        """
        return Chunking(self.n_fft, self.hop_length, self.decoding_window, self.subsampling_factor)


class EncoderSettings(Strict):
    """Of the kind `encoder`.

    stride: feature frames from an encoder frame to the next. An encoder frame sees stride + offset
    of them. left_context: encoder frames before a chunk that the encoder sees.
    """

    stride: PositiveInt
    offset: NonNegativeInt
    left_context: NonNegativeInt


class OfflineEncoderSettings(EncoderSettings):
    """Of the kind `offline_encoder`. least_frames: feature frames of the shortest utterance."""

    least_frames: PositiveInt


class JointSettings(Strict):
    """Of the kind `joint`.

    blank_durations: the frames that each blank stands for. The blanks are the first labels, and
    the last of them is the usual one, which a decoder is fed first. A multi-blank transducer has
    several (arXiv:2211.03541), any other one.
    """

    blank_durations: tuple[PositiveInt, ...] = Field((1,), min_length=1)
