"""python -m tests.zoo [--backend NAME] [NAME ...]: what is not judged rightly, exit status 1."""

import argparse
import sys
import time

import torch

from deploy_bias.errors import OptionError
from deploy_bias.testing import ParityError, assert_export_parity
from tests.zoo.modules import ZOO, Animal

BACKENDS = ("torchscript", "onnx", "executorch")


def verdict(animal: Animal, backend: str) -> str:
    """Return what is wrong of a verdict, in a line; nothing, if it is right."""
    torch.manual_seed(0)
    wrong = ""
    try:
        assert_export_parity(
            animal.make(), animal.example(), backends=[backend], max_seconds=60, **animal.options
        )
        if animal.refusal or backend in animal.red:
            wrong = "green, and is not right"
    except ParityError as error:
        if backend not in animal.red:
            wrong = "red: " + " | ".join(str(error).splitlines()[:14])
    except OptionError as error:
        if animal.refusal is None or animal.refusal not in str(error):
            wrong = f"refused: {error}"
    except Exception as error:
        wrong = f"a traceback: {type(error).__name__}: {error}"
    return wrong


def main() -> int:
    """Try all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", action="append", choices=BACKENDS)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    failed = 0
    for name, animal in ZOO.items():
        if arguments.names and name not in arguments.names:
            continue
        for backend in arguments.backend or BACKENDS:
            begin = time.monotonic()
            wrong = verdict(animal, backend)
            failed += bool(wrong)
            seconds = f"{time.monotonic() - begin:5.1f} s"
            print(f"{'✗' if wrong else '✓'} {seconds} {backend:<12}{name}  {wrong}", flush=True)
    print(f"{failed} not right")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
