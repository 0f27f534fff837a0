"""A microphone for the commands, in blocks, by sounddevice."""

from collections.abc import Iterator

from deploy_bias.cli.audio import BLOCK_SECONDS, Block
from deploy_bias.errors import BackendError


def microphone_blocks() -> Iterator[Block]:
    """Listen to the default input device, without end.

    Raises:
        BackendError: sounddevice or the library that it needs is not installed, or there is no
            device that listens.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise BackendError(
            f"--microphone needs sounddevice and PortAudio ({error}): pip install "
            "'deploy-bias[microphone]', and on Linux the system's package of PortAudio."
        ) from error
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as device:
            while True:
                samples, _ = device.read(round(rate * BLOCK_SECONDS))
                yield Block(rate, samples[:, 0])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise BackendError(
            f"--microphone: no input device can be opened ({error}); connect one, or name audio "
            "files."
        ) from error
