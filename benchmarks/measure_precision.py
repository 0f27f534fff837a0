"""How far quantised graphs of random sound models are off, by what quantised eager explains.

python -m benchmarks.measure_precision --models 30

No test, for its time: it is what `deploy_bias.export.parity.agreement.EXPLAINED` was chosen by.
"""

import argparse
import logging
import random
import tempfile
import warnings
from collections import defaultdict
from pathlib import Path

from deploy_bias.export import ExportOptions, export_bundle
from deploy_bias.export.parity.agreement import EXPLAINED
from deploy_bias.export.parity.results import Mismatch
from tests.espnet.encoders import random_conf
from tests.espnet.experiments import write_experiment

PRECISIONS = ["int8", "int4"]


def random_decoder(seed: int) -> dict:
    """Return the decoder_conf of a random small model."""
    pick = random.Random(seed)
    return {
        "block_size": pick.choice([16, 32, 80]),
        "linear_size": pick.choice([24, 64, 128]),
        "qk_size": pick.choice([8, 32]),
        "v_size": pick.choice([16, 64, 96]),
        "num_heads": pick.choice([2, 4]),
        "num_blocks": pick.choice([1, 2, 4]),
        "max_positions": 128,
        "rel_pos_bias_type": pick.choice(["simple", "rotary"]),
        "normalization_type": pick.choice(["layer_norm", "basic_norm", "rms_norm", "scale_norm"]),
        "activation_type": pick.choice(["relu", "swish", "tanh"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for seed in range(arguments.first, arguments.first + arguments.models):
        with tempfile.TemporaryDirectory() as folder:
            encoder = random_conf(seed) | {"input_conf": {"vgg_like": seed % 2 == 0}}
            model = write_experiment(Path(folder) / "m", encoder, random_decoder(seed))
            try:
                report = export_bundle(
                    model,
                    Path(folder) / "b",
                    ExportOptions(
                        backends=["onnx", "executorch"], precisions=PRECISIONS, context=15
                    ),
                )
            except Mismatch as error:
                report = error.report
        for result in report.results:
            if result.agreement and result.agreement.limit:
                explained = (
                    EXPLAINED[result.precision] * result.agreement.distance / result.agreement.limit
                )
                found[result.graph, result.backend, result.precision].append(explained)
            if not result.passed:
                print(f"{seed}: {result.graph} on {result.backend} in {result.precision}:")
                print(f"  {result.why}", flush=True)
    for key, values in sorted(found.items()):
        values.sort()
        tenths = ", ".join(f"{values[int(p * (len(values) - 1))]:.2f}" for p in (0.5, 0.9, 1))
        print(f"{' '.join(key)}: {len(values)} models; median, 90 %, largest {tenths}")


if __name__ == "__main__":
    main()
