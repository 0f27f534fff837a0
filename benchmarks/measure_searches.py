"""Every search against ESPnet's, on random models of every decoder; no test, for its time.

python -m benchmarks.measure_searches --seeds 200
"""

import argparse
import warnings
from collections import Counter

import torch

from tests.espnet.searches import CASES, difference, frames, transducer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--frames", type=int, default=12)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    compared: Counter[str] = Counter()
    differ: Counter[str] = Counter()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        model, encoder_out = transducer(seed), frames(arguments.frames, seed)
        for name, options in CASES:
            key = f"{name} {options}"
            compared[key] += 1
            found = model.search(name, encoder_out, **options)
            wrong = difference(model.espnet(name, encoder_out, **options), found, model.memory)
            if wrong is not None:
                differ[key] += 1
                print(f"seed {seed}, {key}: {wrong}", flush=True)
    for key, count in compared.items():
        print(f"{key}: {count - differ[key]} of {count} as ESPnet")


if __name__ == "__main__":
    main()
