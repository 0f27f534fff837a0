"""The recordings of a manifest, with the words that they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy_bias.cli.audio import AudioFile
from deploy_bias.errors import ContractError, SourceError
from deploy_bias.files import read_lines
from deploy_bias.packages import needed
from deploy_bias.runtime.samples import check_rate, check_samples


@dataclass(frozen=True)
class Recording:
    """An audio file, and the words that it says; there may be none."""

    file: Path
    words: str


@dataclass(frozen=True)
class Errors:
    """What was misheard. words: how many are said."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.substitutions + self.deletions + self.insertions


def read_manifest(path: Path) -> list[Recording]:
    r"""Read lines of a file, relative to the manifest's folder, a tab, and its words.

    UTF-8, with or without a byte order mark. Only \n and \r\n end a line. Nothing behind the tab:
    the file has no words. Further columns are not looked at.

    Raises:
        SourceError: the manifest is missing, no text or empty, or a line lacks a file or the tab.
    """
    found = []
    for number, line in enumerate(read_lines(path, "lines of a file, a tab and its words"), 1):
        if not line.strip():
            continue
        file, *columns = (column.strip() for column in line.split("\t"))
        if not file or not columns:
            raise SourceError(f"{path}: line {number}: expected a file, a tab and its words.")
        found.append(Recording(path.parent / file, columns[0]))
    if not found:
        raise SourceError(f"{path}: empty; expected lines of a file, a tab and its words.")
    return found


def readable(recordings: Sequence[Recording]) -> tuple[list[Recording], list[tuple[str, str]]]:
    """Return the recordings whose audio can be heard, and what to report of them and the others."""
    found, reports = [], []
    for recording in recordings:
        audio = AudioFile(recording.file)
        try:
            _check_file(recording.file)
            for block in audio.blocks():
                check_rate(block.sample_rate)
                check_samples(block.samples)
        except (SourceError, ContractError) as error:
            text = str(error) if isinstance(error, SourceError) else f"{recording.file}: {error}"
            reports.append(("error", text))
        else:
            found.append(recording)
            reports += [("warning", f"{recording.file}: {text}") for text in audio.warnings]
    return found, reports


def count_errors(words: Sequence[str], texts: Sequence[str], normalize: bool = False) -> Errors:
    """Compare what was recognised with the words that are said, by jiwer.

    Args:
        words: of each recording; there may be none.
        texts: as many.
        normalize: compare in lower case and without punctuation.

    Raises:
        BackendError: jiwer is not installed.
    """
    with needed("jiwer", "counting word errors"):
        import jiwer
    rule = jiwer.Compose(
        [
            *([jiwer.ToLowerCase(), jiwer.RemovePunctuation()] if normalize else []),
            jiwer.RemoveMultipleSpaces(),
            jiwer.Strip(),
            jiwer.ReduceToListOfListOfWords(),
        ]
    )
    counted = jiwer.process_words(list(words), list(texts), rule, rule)
    return Errors(
        words=counted.hits + counted.substitutions + counted.deletions,
        substitutions=counted.substitutions,
        deletions=counted.deletions,
        insertions=counted.insertions,
    )


def _check_file(path: Path) -> None:
    """Raise a SourceError for a pipe or a device, which can be read once."""
    try:
        once = path.exists() and not path.is_file() and not path.is_dir()
    except (OSError, ValueError):  # told by who opens it
        return
    if once:
        raise SourceError(f"{path}: is read for each backend, and a pipe only once; save it first.")
