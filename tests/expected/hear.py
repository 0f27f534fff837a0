"""Print the words that Python's Recognizer hears in raw float32 samples, and their seconds.

python -m tests.expected.hear BUNDLE SAMPLES
"""

import argparse
import json
from pathlib import Path

import numpy as np

from deploy_bias.runtime import Recognition, Recognizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--precision", default="fp32")
    arguments = parser.parse_args()
    recognizer = Recognizer(arguments.bundle, precision=arguments.precision)
    heard = utterances(recognizer, np.fromfile(arguments.samples, np.float32))
    words = [
        [token, found.start_time + at]
        for found in heard
        for token, at in zip(found.tokens, found.timestamps, strict=True)
    ]
    print(json.dumps(words))


def utterances(recognizer: Recognizer, samples: np.ndarray) -> list[Recognition]:
    """Return what is heard up to each endpoint, as the page shows it; where nothing was, nothing.

    Args:
        recognizer: of a bundle.
        samples: float32 at its rate.
    """
    heard = []
    with recognizer.create_stream() as stream:
        stream.accept_waveform(recognizer.sample_rate, samples)
        stream.input_finished()
        while recognizer.is_ready(stream):
            recognizer.decode_stream(stream)
            found = recognizer.get_result(stream)
            if found.is_final or recognizer.is_endpoint(stream):
                heard.append(found)
                recognizer.reset(stream)
    return [found for found in heard if found.text]


if __name__ == "__main__":
    main()
