"""How many sound random models the gate flags; it takes minutes, so it is no test.

python -m benchmarks.measure_gate --models 200
"""

import argparse
import logging
import time
import warnings
from collections import Counter, defaultdict

import numpy as np

from deploy_bias.testing import ParityError, assert_export_parity
from tests.export.testing.models import random_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    flagged, checked = [], Counter()
    by_eager = defaultdict(list)
    start = time.time()
    for seed in range(arguments.first, arguments.first + arguments.models):
        module, inputs, options = random_model(seed)
        try:
            report = assert_export_parity(module, inputs, seed=seed, **options)
        except ParityError as error:
            report = error.report
            flagged.append(seed)
            print(f"model {seed}: {error}", flush=True)
        for result in report.results:
            checked[result.backend] += len(result.cases)
            by_eager[result.backend] += [case.error_by_eager for case in result.cases]
    print(f"{arguments.models} models in {time.time() - start:.0f} s, flagged: {flagged or 'none'}")
    for backend, count in checked.items():
        values = np.array(by_eager[backend])
        print(
            f"{backend}: {count} outputs of cases compared; error over eager's, of which 4 are "
            f"allowed: median {np.median(values):.2f}, 99 % {np.quantile(values, 0.99):.2f}, "
            f"largest {values.max():.2f}"
        )


if __name__ == "__main__":
    main()
