"""How often `verify` flags a sound bundle, over seeds of its random cases; no test, for its time.

python -m benchmarks.measure_parity BUNDLE --seeds 1000

The artifacts are loaded once; rollouts are cut to 60 steps for all seeds but the first.
"""

import argparse
import time
import warnings
from collections import defaultdict
from pathlib import Path

from deploy_bias.bundle import Bundle
from deploy_bias.export.graphs import BundleWeights
from deploy_bias.export.parity.gate import check, one_thread
from deploy_bias.export.parity.proof import Proof
from deploy_bias.export.parity.vectors import stored_cases
from deploy_bias.runtime import load

MOST_STEPS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    bundle = Bundle(arguments.bundle)
    loaded = {backend: load(bundle, backend) for backend in bundle.manifest.backends}
    weights = BundleWeights(bundle)
    vectors = bundle.tensors(bundle.manifest.vectors)
    largest: dict[tuple[str, str], float] = defaultdict(float)
    start, flagged = time.time(), []
    contracts = {
        graph.contract.model_dump_json(): graph.contract
        for graphs in loaded.values()
        for graph in graphs.values()
    }
    graphs = {key: weights.graph(contract) for key, contract in contracts.items()}
    stored = {key: list(stored_cases(said, vectors)) for key, said in contracts.items()}
    with one_thread():
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            proofs = {key: _Cut(graph, stored[key], seed) for key, graph in graphs.items()}
            for backend, found in loaded.items():
                for graph in found.values():
                    proof = proofs[graph.contract.model_dump_json()]
                    for case in check(proof, graph, backend):
                        key = (graph.contract.name, backend)
                        largest[key] = max(largest[key], case.error_by_eager)
                        if not case.passed:
                            flagged.append((seed, *key))
                            print(seed, backend, case.why, flush=True)
            if seed % 50 == 49:
                _tell(seed + 1 - arguments.first, start, flagged, largest)
    _tell(arguments.seeds, start, flagged, largest)


class _Cut(Proof):
    def __init__(self, graph, stored, seed: int) -> None:
        cases = graph.cases
        graph.cases = lambda seed: {
            name: steps[: MOST_STEPS if seed else None] for name, steps in cases(seed).items()
        }
        try:
            super().__init__(graph, stored, seed)
        finally:
            del graph.cases


def _tell(seeds: int, start: float, flagged: list, largest: dict) -> None:
    print(f"{seeds} seeds in {time.time() - start:.0f} s, flagged: {flagged or 'none'}")
    for (graph, backend), value in sorted(largest.items()):
        print(
            f"  {graph} on {backend}: largest error over eager's {value:.2f}, of which 4",
            flush=True,
        )


if __name__ == "__main__":
    main()
