"""manifest.json, and the label that every artifact carries."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from deploy_bias.bundle.contract import GraphContract, Precision, Strict

FORMAT: Literal["deploy_bias"] = "deploy_bias"
FORMAT_VERSION = 2

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _inside_the_bundle(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts:
        raise ValueError(f"path {path!r} leaves the bundle")
    return path


InnerPath = Annotated[str, Field(max_length=255), AfterValidator(_inside_the_bundle)]


class Label(Strict):
    """What every artifact carries inside, so that a lone file explains itself."""

    format: Literal["deploy_bias"] = FORMAT
    format_version: PositiveInt = FORMAT_VERSION
    exporter: dict[str, str]
    weights_sha256: Sha256
    precision: Precision
    graphs: tuple[GraphContract, ...]


class File(Strict):
    """A file of the bundle, relative to its folder."""

    path: InnerPath
    sha256: Sha256
    bytes: NonNegativeInt


class Operators(Strict):
    """Operator counts of one graph: those a delegate took and those left to the runtime."""

    delegated: dict[str, int]
    undelegated: dict[str, int]


class Artifact(File):
    """A file that a backend runs, with the contracts of the graphs in it."""

    backend: str
    precision: Precision
    graphs: tuple[GraphContract, ...] = Field(min_length=1)
    operators: dict[str, Operators]


class Manifest(Strict):
    """manifest.json.

    source: the files that were exported. vectors: inputs of each graph and what eager makes of
    them. limits: what is allowed beside that; none until the gate has passed. float_layers: the
    linear layers of each graph that "auto" leaves in float32, each with the reason. options:
    what was asked for, see `deploy_bias.export.options.ExportOptions`.
    """

    format: Literal["deploy_bias"] = FORMAT
    format_version: PositiveInt = FORMAT_VERSION
    exporter: dict[str, str]
    source: dict[str, str]
    float_layers: dict[str, dict[str, str]] = Field(default_factory=dict)
    options: dict[str, Any]
    weights: File
    vectors: File
    limits: File | None = None
    tokens: File | None = None
    token_type: Literal["bpe", "char", "word", "phn"] | None = None
    bpe_model: File | None = None
    artifacts: tuple[Artifact, ...] = Field(min_length=1)

    @property
    def files(self) -> tuple[File, ...]:
        """Every file that the manifest vouches for."""
        optional = (self.limits, self.tokens, self.bpe_model)
        given = (file for file in optional if file is not None)
        return (*self.artifacts, self.weights, self.vectors, *given)

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that have an artifact here, in the order they were exported."""
        return tuple(dict.fromkeys(artifact.backend for artifact in self.artifacts))

    def precisions(self, backend: str) -> tuple[Precision, ...]:
        """Return the precisions that a backend has here, in the order they were exported."""
        found = (a.precision for a in self.artifacts if a.backend == backend)
        return tuple(dict.fromkeys(found))

    def label(self, artifact: Artifact) -> Label:
        """Return the label that an artifact must carry."""
        return Label(
            exporter=self.exporter,
            weights_sha256=self.weights.sha256,
            precision=artifact.precision,
            graphs=artifact.graphs,
        )
