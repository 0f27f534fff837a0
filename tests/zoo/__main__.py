"""python -m tests.zoo [--backend NAME] [NAME ...]: what is not judged rightly, exit status 1."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import torch

from deploy_bias.errors import OptionError
from deploy_bias.testing import ParityError, assert_export_parity
from tests.zoo import artifacts
from tests.zoo.libraries import LIBRARIES
from tests.zoo.modules import ZOO, Animal

BACKENDS = ("torchscript", "onnx", "executorch")
FILES = "files"
"""What the known-bad files are asked for by, in the place of a backend."""


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
        lines = str(error).splitlines()
        if backend not in animal.red:
            wrong = "red: " + " | ".join(lines[:14])
        elif animal.named.get(backend, "") not in "".join(
            line for line in lines if "first wrong operator" in line or "failed to" in line
        ):
            wrong = f"does not name {animal.named[backend]}: " + " | ".join(lines[:14])
    except OptionError as error:
        if animal.refusal is None or animal.refusal not in str(error):
            wrong = f"refused: {error}"
    except Exception as error:
        wrong = f"a traceback: {type(error).__name__}: {error}"
    return wrong


def trials(kinds: list[str]) -> Iterator[tuple[str, str, Callable[[], str]]]:
    """Yield what is tried: a backend, a name, and what gives the line."""
    for name, animal in {**ZOO, **LIBRARIES}.items():
        for backend in BACKENDS:
            if backend in kinds:
                yield backend, name, lambda a=animal, b=backend: verdict(a, b)
    if FILES in kinds:
        for name in artifacts.FAULTS:
            yield FILES, name, lambda n=name: artifacts.verdict(n)


def main() -> int:
    """Try all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", action="append", choices=(*BACKENDS, FILES))
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    tried = failed = 0
    for kind, name, try_it in trials(arguments.backend or [*BACKENDS, FILES]):
        if arguments.names and name not in arguments.names:
            continue
        begin = time.monotonic()
        wrong = try_it()
        tried, failed = tried + 1, failed + bool(wrong)
        seconds = f"{time.monotonic() - begin:5.1f} s"
        print(f"{'✗' if wrong else '✓'} {seconds} {kind:<12}{name}  {wrong}", flush=True)
    print(f"{failed} of {tried} not right")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
