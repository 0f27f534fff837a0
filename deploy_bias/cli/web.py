"""deploy-bias web."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from deploy_bias.bundle import MANIFEST, Bundle
from deploy_bias.cli.assets import WAVS, check_streams, heard_recordings, write_folder
from deploy_bias.cli.console import Debug, out, size
from deploy_bias.errors import BundleError, OptionError

PAGE = Path(str(files("deploy_bias"))) / "data/web"
"""Of web_demo: index.html, the folders page and src, and package.json."""
BACKEND = "onnx"
PACKAGE = "onnxruntime-web"
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
SITE = "site.json"
NEXT = """\
Any static host will do; on this machine:
  python3 -m http.server --bind 127.0.0.1 --directory {site} 8000
and open http://127.0.0.1:8000 in a browser."""


def run(
    bundle: Annotated[Path, typer.Argument(help="A folder that `deploy-bias export` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the site.")] = Path(
        "site"
    ),
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the npm package onnxruntime-web. [default: in node_modules]"
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a page that hears by a bundle and proves it, as files for any static host."""
    written = write_site(Bundle(bundle), output, runtime)
    total = size(sum(written.values()))
    out.print(f"[green]✓[/] {output}: {len(written)} files, {total}", soft_wrap=True)
    out.print(NEXT.format(site=output), markup=False, highlight=False, soft_wrap=True)


def write_site(bundle: Bundle, site: Path, runtime: Path | None = None) -> dict[str, int]:
    """Write the page, ONNX Runtime and a bundle: all of them or nothing.

    Args:
        bundle: its files are checked by their hashes.
        site: the folder; a site that it held is replaced.
        runtime: the folder of onnxruntime-web; one in node_modules if it is left out.

    Returns:
        The bytes of each file.

    Raises:
        BundleError: a file is missing or changed, or nothing is for ONNX Runtime.
        OptionError: the folder holds something else, or the runtime is missing or of another
            version.
    """
    if site.exists() and not (site / SITE).is_file() and (site.is_file() or any(site.iterdir())):
        raise OptionError(
            f"--output {site}: holds something else than a site; name a new folder or an empty one."
        )
    manifest = bundle.manifest
    artifacts = [artifact for artifact in manifest.artifacts if artifact.backend == BACKEND]
    if not artifacts:
        raise BundleError(
            f"{bundle.folder}: has nothing for {BACKEND}, the runtime of the page; export again "
            f"with --backend {BACKEND}."
        )
    check_streams(bundle, artifacts, "the page")
    optional = (manifest.limits, manifest.tokens)
    wanted = [*artifacts, manifest.vectors, *(file for file in optional if file is not None)]
    recordings = heard_recordings(bundle, artifacts[0])
    about = {"name": bundle.folder.resolve().name, "recordings": list(recordings)}
    contents = {
        **_page(),
        **_runtime(runtime),
        f"bundle/{MANIFEST}": (bundle.folder / MANIFEST).read_bytes(),
        **{f"bundle/{file.path}": bundle.read(file) for file in wanted},
        **{f"recordings/{name}": (WAVS / name).read_bytes() for name in recordings},
        SITE: json.dumps(about, indent=1).encode(),
    }
    write_folder(site, contents)
    return {name: len(data) for name, data in contents.items()}


def _page() -> dict[str, bytes]:
    """Return the page's own files."""
    paths = [PAGE / "index.html", *(PAGE / "page").iterdir(), *(PAGE / "src").iterdir()]
    return {path.relative_to(PAGE).as_posix(): path.read_bytes() for path in sorted(paths)}


def _runtime(folder: Path | None) -> dict[str, bytes]:
    """Return ONNX Runtime's files.

    Raises:
        OptionError: they are missing or of another version.
    """
    version = json.loads((PAGE / "package.json").read_text())["dependencies"][PACKAGE]
    way_out = (
        f"`npm install --ignore-scripts {PACKAGE}@{version}` brings it into node_modules here; or "
        "name its folder by --runtime."
    )
    here = Path.cwd()
    places = [folder] if folder else [p / "node_modules" / PACKAGE for p in (here, *here.parents)]
    found = next((place for place in places if (place / "package.json").is_file()), None)
    if found is None:
        where = f"--runtime {folder}" if folder else f"{here}"
        raise OptionError(
            f"{where}: {PACKAGE} {version}, which the page runs, is not there; {way_out}"
        )
    there = json.loads((found / "package.json").read_text()).get("version")
    if there != version:
        raise OptionError(f"{found}: is version {there}, and the page runs {version}; {way_out}")
    missing = [name for name in RUNTIME if not (found / "dist" / name).is_file()]
    if missing:
        raise OptionError(f"{found}: lacks dist/{' and dist/'.join(missing)}; {way_out}")
    return {f"ort/{name}": (found / "dist" / name).read_bytes() for name in RUNTIME}
