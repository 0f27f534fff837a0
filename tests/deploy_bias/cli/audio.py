"""Audio files as people have them: each maker returns the bytes of one."""

import io
import struct
from random import Random

import numpy as np
import soundfile


def encoded(samples: np.ndarray, rate: int, kind: str, **options) -> bytes:
    """A whole file; kind: wav, flac, ogg, opus or mp3."""
    format_, subtype = {
        "ogg": ("OGG", "VORBIS"),
        "opus": ("OGG", "OPUS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }.get(kind, (kind.upper(), options.pop("subtype", "PCM_16")))
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format_, subtype=subtype, **options)
    return buffer.getvalue()


def killed_wav(whole: bytes, size: int = 0) -> bytes:
    """A wav whose recorder was killed: its sizes were never written."""
    place = whole.index(b"data") + 4
    return (
        whole[:4]
        + struct.pack("<I", size)
        + whole[8:place]
        + struct.pack("<I", size)
        + (whole[place + 4 :])
    )


def streamed_flac(whole: bytes) -> bytes:
    """A flac that was written to a pipe: no total of samples, no MD5."""
    # STREAMINFO follows 8 bytes; behind its first 13.5 come 36 bits of total and the MD5.
    return whole[:21] + bytes([whole[21] & 0xF0]) + bytes(20) + whole[42:]


def headerless_mp3(samples: np.ndarray, rate: int) -> bytes:
    """An mp3 of variable bit rate without the header that tells its frames."""
    whole = encoded(samples, rate, "mp3", bitrate_mode="VARIABLE", compression_level=0.9)
    header = max(whole.find(b"Xing"), whole.find(b"Info"))
    assert header > 0
    sync = whole[whole.rindex(b"\xff", 0, header) :][:2]
    return whole[whole.index(sync, header) :]


def mutated(whole: bytes, random: Random) -> bytes:
    """A few bytes changed, lost or put in, more often in the header."""
    content = bytearray(whole)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        size = len(content) if random.random() < 0.6 else min(len(content), 120)
        if not size:
            break
        place = random.randrange(size)
        match random.randrange(5):
            case 0:
                content[place] = random.randrange(256)
            case 1:
                content[place] ^= 1 << random.randrange(8)
            case 2:
                del content[place : place + random.randrange(1, 200)]
            case 3:
                content[place:place] = random.randbytes(random.randrange(1, 50))
            case 4:
                del content[place : place + 4]
    return bytes(content)
