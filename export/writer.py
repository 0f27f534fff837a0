"""The files of a bundle: what is exported, and what is written beside it."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors.numpy import save
from torch import Tensor

import deploy_bias
from deploy_bias.bundle import MANIFEST
from deploy_bias.bundle.contract import Precision
from deploy_bias.bundle.manifest import Artifact, File, Label, Manifest
from deploy_bias.errors import BackendError
from deploy_bias.export.backends import Exported, Exporter, LabelOf
from deploy_bias.export.graph import ExportGraph
from deploy_bias.export.graphs.model import model_graphs, offline_graphs
from deploy_bias.export.mixed import FloatLayers
from deploy_bias.export.options import ExportOptions
from deploy_bias.export.parity.vectors import rollout_vectors, vectors_of
from deploy_bias.export.sources import Source, Vocabulary
from deploy_bias.packages import message

Progress = Callable[[str], None]


class BundleWriter:
    """Writes bundles of one model.

    Args:
        model: what was read.
        options: of the export.
        exporters: by backend.
        progress: called with the name of each stage.

    Attributes:
        static: the graphs of static shapes.
        whole: those that take whole utterances, if they were asked for.
    """

    def __init__(
        self,
        model: Source,
        options: ExportOptions,
        exporters: Mapping[str, Exporter],
        progress: Progress,
    ) -> None:
        self._model, self._options = model, options
        self._exporters, self._progress = exporters, progress
        self.static = model_graphs(model, options)
        self.whole = offline_graphs(model, options) if options.offline else []
        self._flexible = self.static
        if options.dynamic:
            self._flexible = model_graphs(model, options, dynamic=True)
        graphs = [*self.whole, *self.static]
        self._weights = _save(
            {name: tensor for graph in graphs for name, tensor in graph.weights().items()}
        )
        self._versions = _versions(exporters.values())
        progress("compute the test vectors")
        self._vectors = _save(_vectors(graphs, model))

    def keep_in_float32(self, layers: FloatLayers) -> None:
        """Leave layers in float32 where the precision is "auto"."""
        for graph in (*self.whole, *self._flexible, *self.static):
            graph.float_layers = layers.get(graph.contract.name, {})

    def write(self, folder: Path, plan: Mapping[str, Sequence[Precision]]) -> Manifest:
        """Write a new folder: all but what the gate adds.

        Args:
            folder: which is not there yet.
            plan: precisions by backend.
        """
        folder.mkdir()
        artifacts = [
            _write_artifact(folder, name, precision, exported)
            for name, precisions in plan.items()
            for precision in precisions
            for exported in self._export(name, precision)
        ]
        manifest = Manifest(
            exporter=self._versions,
            source=self._model.info,
            float_layers={
                graph.contract.name: dict(graph.float_layers)
                for graph in (*self.whole, *self.static)
                if graph.float_layers
            },
            options=self._options.model_dump(mode="json", exclude_defaults=True),
            weights=write_file(folder, "weights.safetensors", self._weights),
            vectors=write_file(folder, "vectors.safetensors", self._vectors),
            **_write_tokens(folder, self._model.vocabulary),
            artifacts=tuple(artifacts),
        )
        write_manifest(folder, manifest)
        return manifest

    def _export(self, backend: str, precision: Precision) -> list[Exported]:
        self._progress(f"export to {backend}, {precision}")
        maker = self._exporters[backend]
        whole = self.whole if maker.OFFLINE else []
        graphs = [*whole, *(self._flexible if maker.DYNAMIC else self.static)]
        return maker.export(graphs, precision, self._label(precision))

    def _label(self, precision: Precision) -> LabelOf:
        return lambda graphs: Label(
            exporter=self._versions,
            weights_sha256=_sha256(self._weights),
            precision=precision,
            graphs=tuple(graph.contract for graph in graphs),
        )


def write_tensors(folder: Path, path: str, tensors: Mapping[str, Tensor]) -> File:
    """Write a safetensors file."""
    return write_file(folder, path, _save(tensors))


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.numpy().copy() for name, tensor in tensors.items()})


def _versions(exporters: Iterable[Exporter]) -> dict[str, str]:
    packages = {package for maker in exporters for package in maker.VERSIONS}
    try:
        found = {package: version(package) for package in sorted(packages)}
    except PackageNotFoundError as error:
        raise BackendError(message(str(error.name), "export", error)) from error
    return {"deploy_bias": deploy_bias.__version__, **found}


def _write_artifact(
    folder: Path, backend_name: str, precision: Precision, exported: Exported
) -> Artifact:
    return Artifact(
        **write_file(folder, exported.path, exported.data).model_dump(),
        backend=backend_name,
        precision=precision,
        graphs=tuple(graph.contract for graph in exported.graphs),
        operators=exported.operators,
    )


def _vectors(graphs: Sequence[ExportGraph], model: Source) -> dict[str, Tensor]:
    vectors = {name: tensor for graph in graphs for name, tensor in vectors_of(graph).items()}
    if model.frames:
        by_name = {graph.contract.name: graph for graph in graphs}
        vectors |= rollout_vectors(by_name["decoder"], by_name["joint"], model.frames)
    return vectors


def _write_tokens(folder: Path, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """Write tokens.txt as the field has it: a token and its number in each line.

    Returns:
        The fields of the manifest about tokens.
    """
    if vocabulary is None:
        return {}
    lines = [f"{token} {number}\n" for number, token in enumerate(vocabulary.tokens)]
    model = vocabulary.bpe_model
    known = vocabulary.token_type in ("bpe", "char", "word", "phn")
    return {
        "tokens": write_file(folder, "tokens.txt", "".join(lines).encode()),
        "token_type": vocabulary.token_type if known else None,
        "bpe_model": None if model is None else write_file(folder, "bpe.model", model),
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json."""
    text = manifest.model_dump_json(indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def write_file(folder: Path, path: str, data: bytes) -> File:
    """Write a file, and return what the manifest says of it."""
    (folder / path).write_bytes(data)
    return File(path=path, sha256=_sha256(data), bytes=len(data))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
