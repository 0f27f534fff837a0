"""Audio files for the commands, in blocks: whatever FFmpeg's libraries read, by PyAV."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from deploy_bias.cli.cut import mp3_frames, ogg_is_cut, wav_data_size
from deploy_bias.errors import SourceError
from deploy_bias.packages import needed

BLOCK_SECONDS = 0.1
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,ircam,loas,matroska,mov,mp3,mpc,mpc8,"
    "mpegts,nistsphere,ogg,paf,rso,sds,sox,tta,voc,w64,wav,wv"
)
"""FFmpeg's names of those read. None is a list of other files, so no other file is ever opened."""
LIMITS = {"format_whitelist": CONTAINERS}
CHECKED = {"flac": {"err_detect": "crccheck+explode"}}
"""Options of decoders that would else give noise for a frame whose checksum is wrong."""
TOLERANCE = 0.25
"""Seconds that padding may lack of what a header states: of mp3, three frames at 8 kHz."""
STATE_DURATION = ("aiff", "au", "caf", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "w64")
"""Those whose header does; of the others FFmpeg estimates it from the size of the file."""
TAIL = 0x20000
MICROSECONDS = 1e6
"""FFmpeg's unit of time for a container."""
CANCELLED = 1e-4
"""Power of the average of all channels over theirs: below, they are of opposite phase."""


@dataclass(frozen=True)
class Block:
    """samples: (any number,) float32, one channel, the average of those there were."""

    sample_rate: int
    samples: np.ndarray

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples.size / self.sample_rate


class AudioFile:
    """A file, pipe or device that is read once, at any rate, with any number of channels.

    Attributes:
        warnings: what the audio lacks, one line each; complete when all blocks are read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []

    def read(self) -> Block:
        """Read all of it at once.

        Raises:
            SourceError: as `blocks`; or there is no sample in it.
            BackendError: av is not installed.
        """
        blocks = list(self.blocks())
        if not blocks:
            raise SourceError(f"{self.path}: holds no audio; expected an audio file.")
        return Block(blocks[0].sample_rate, np.concatenate([block.samples for block in blocks]))

    def blocks(self) -> Iterator[Block]:
        """Read on.

        Raises:
            SourceError: the file is missing, a folder, unreadable or no audio.
            BackendError: av is not installed.
        """
        with needed("av", "reading audio"):
            import av
        try:
            source = _Source(self.path)
        except (OSError, ValueError) as error:
            what = _reason(error).lower()
            raise SourceError(f"{self.path}: {what}; expected an audio file.") from error
        with source:
            try:
                container = av.open(source, metadata_errors="ignore", options=LIMITS)
            except (av.FFmpegError, OSError, ValueError) as error:
                source.check_interrupted()
                raise SourceError(
                    f"{self.path}: cannot be read as audio; expected wav, flac, ogg, mp3, m4a or "
                    "another format that FFmpeg reads."
                ) from error
            with container:
                if not container.streams.audio:
                    raise SourceError(f"{self.path}: holds no audio; expected an audio file.")
                if container.streams.audio[0].codec_context is None:
                    raise SourceError(f"{self.path}: in an unknown codec; save it as wav or flac.")
                try:
                    yield from self._read(container, source)
                except av.FFmpegError as error:  # a frame of a shape that cannot be
                    raise SourceError(
                        f"{self.path}: cannot be read as audio ({_reason(error)}); save it as wav "
                        "or flac."
                    ) from error

    def _read(self, container: Any, source: "_Source") -> Iterator[Block]:
        stream = container.streams.audio[0]
        track, size, rest = _Track(stream), 0, np.zeros(0, np.float32)
        for frame in track.frames(container):
            source.check_interrupted()
            size = size or max(1, round(frame.sample_rate * BLOCK_SECONDS))
            rest = np.concatenate([rest, track.average(frame)])
            while rest.size >= size:
                yield Block(track.sample_rate, rest[:size])
                rest = rest[size:]
        source.check_interrupted()
        if rest.size:
            yield Block(track.sample_rate, rest)
        if not track.heard and track.failure:
            raise SourceError(
                f"{self.path}: cannot be read as audio ({track.failure}); expected a whole file."
            )
        self.warnings += track.warnings(_stated(container, source))
        if container.format.name == "ogg" and ogg_is_cut(source.tail()):
            self.warnings.append(f"the file is cut: nothing follows {track.heard:.1f} s.")


class _Source(FileIO):
    """The bytes of a file.

    head: the first ones. interrupted: Ctrl-C came, which PyAV would drop; the file ends then.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.head = b""
        self.interrupted = False
        self._tail = bytearray()

    def read(self, size: int | None = -1, /) -> bytes:
        if self.interrupted:  # FFmpeg asks again at an end
            return b""
        try:
            data = super().read(size) or b""
            self.head = self.head or data
            if not self.seekable():
                self._tail += data
                del self._tail[:-TAIL]
        except KeyboardInterrupt:
            self.interrupted = True
            return b""
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except OSError:  # beyond what a file can be
            return -1

    def check_interrupted(self) -> None:
        """Raise the KeyboardInterrupt that came while it was read."""
        if self.interrupted:
            raise KeyboardInterrupt

    def tail(self) -> bytes:
        """Return the last bytes, when all were read."""
        if self.seekable():
            self.seek(max(0, self.seek(0, 2) - TAIL))
            return self.readall()
        return bytes(self._tail)


class _Track:
    """The frames of an audio stream, and how far they go.

    Attributes:
        heard: seconds decoded.
        failure: why something could not be decoded; empty if all was.
    """

    def __init__(self, stream: Any) -> None:
        stream.codec_context.options = CHECKED.get(stream.codec_context.name, {})
        self._stream = stream
        self.sample_rate = 0
        self.heard = 0.0
        self.failure = ""
        self._gaps = 0.0
        self._converters: dict[tuple[str, str], Any] = {}
        self._other_rates: dict[int, float] = {}
        self._power = self._average_power = 0.0

    def frames(self, container: Any) -> Iterator[Any]:
        """Decode, past what cannot be decoded."""
        import av

        end: float | None = None
        failed: list[float] = []
        packets = container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError, ValueError) as error:
                self.failure = f"reading ends at {self.heard:.1f} s: {_reason(error)}"
                packet = None
            if packet is None:
                break
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                self.failure = _reason(error)
                if packet.pts is not None:
                    failed.append(float(packet.pts * packet.time_base))
                continue
            if frames:
                failed.clear()  # the frame's own time shows the gap
            for frame in frames:
                seconds, rate = frame.samples / frame.sample_rate, frame.sample_rate
                self.sample_rate = self.sample_rate or rate
                if rate != self.sample_rate:
                    self._other_rates[rate] = self._other_rates.get(rate, 0.0) + seconds
                    end = None
                    continue
                # A chained file starts again at 0; that is no gap.
                if end is not None and frame.time is not None and frame.time - end > 0.01:
                    self._gaps += frame.time - end
                end = seconds + (frame.time if frame.time is not None else end or 0.0)
                self.heard += seconds
                yield frame
        if failed:
            self._gaps += failed[-1] - failed[0]

    def average(self, frame: Any) -> np.ndarray:
        """Return the average (S,) float32 of the channels of a frame."""
        import av

        shape = (frame.format.name, frame.layout.name)
        if shape not in self._converters:
            # Packed: PyAV reads past the end of a frame of eight channels that lie apart.
            self._converters[shape] = av.AudioResampler(format="flt")
        (packed,) = self._converters[shape].resample(frame)
        samples = packed.to_ndarray().reshape(packed.samples, -1)
        with np.errstate(all="ignore"):  # NaN and infinity are told of by who takes the samples
            average: np.ndarray = samples.mean(axis=1, dtype=np.float32)
            self._power += float(np.square(samples, dtype=np.float64).mean())
            self._average_power += float(np.square(average, dtype=np.float64).mean())
        return average

    def warnings(self, stated: float) -> list[str]:
        """Return what the audio lacks of so many seconds, one line each."""
        lines = []
        missing = max(self._gaps, stated - self.heard - sum(self._other_rates.values()))
        if missing > TOLERANCE or (missing > 0 and self.failure):
            why = f" ({self.failure})" if self.failure else ""
            lines.append(
                f"{missing:.1f} s beside the {self.heard:.1f} s that were read are missing: the "
                f"file is cut or damaged{why}."
            )
        elif self.failure:
            lines.append(f"a part of the file is damaged and was left out ({self.failure}).")
        lines += [
            f"{seconds:.1f} s at {rate} Hz were not read: the file begins at {self.sample_rate} Hz."
            for rate, seconds in self._other_rates.items()
        ]
        if self._average_power < CANCELLED * self._power:
            lines.append("the channels cancel one another: they are of opposite phase.")
        return lines


def _stated(container: Any, source: _Source) -> float:
    """Return the seconds that the header of a file states; 0 if it states none."""
    stream, kind = container.streams.audio[0], container.format.name
    context = stream.codec_context
    if kind == "wav" and context.bit_rate:
        return 8 * (wav_data_size(source.head) or 0) / int(context.bit_rate)
    if kind == "mp3" and context.sample_rate:
        return (mp3_frames(source.head) or 0) * int(context.frame_size) / int(context.sample_rate)
    if kind not in STATE_DURATION:
        return 0.0
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1
    return int(container.duration) / MICROSECONDS if alone and container.duration else 0.0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
