"""ExecuTorch's BundledProgram: the .pte and its data sets in one file."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from deploy_bias.bundle.manifest import Artifact

if TYPE_CHECKING:
    from deploy_bias.export.testdata import DataSet


def write(
    output: Path, artifact: Artifact, data: bytes, sets: Mapping[str, Sequence["DataSet"]]
) -> str:
    """Write NAME.bpte, with a test suite for each method; return its name."""
    from executorch.devtools import BundledProgram
    from executorch.devtools.bundled_program.config import MethodTestCase, MethodTestSuite
    from executorch.devtools.bundled_program.serialize import (
        serialize_from_bundled_program_to_flatbuffer,
    )

    suites = [
        MethodTestSuite(
            contract.name,
            [
                MethodTestCase(
                    [found.inputs[spec.name] for spec in contract.inputs],
                    [found.outputs[spec.name] for spec in contract.outputs],
                )
                for found in sets[contract.name]
            ],
        )
        for contract in artifact.graphs
    ]
    name = PurePosixPath(artifact.path).with_suffix(".bpte").name
    output.mkdir(parents=True, exist_ok=True)
    program = output / name
    # A file, for BundledProgram takes no bytes; what it makes holds the program and replaces it.
    program.write_bytes(data)
    bundled = BundledProgram(None, suites, pte_file_path=str(program))
    program.write_bytes(serialize_from_bundled_program_to_flatbuffer(bundled))
    return name
