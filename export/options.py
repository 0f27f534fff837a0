"""What is asked of an export, from the command line or from Python; checked once."""

from collections.abc import Iterable
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from deploy_bias.bundle.contract import PRECISIONS, Precision, Strict
from deploy_bias.errors import BackendError, OptionError
from deploy_bias.export.backends import EXPORTERS, exporter
from deploy_bias.runtime.backends import unmet

Start = Literal["espnet", "clean"]
"""What a decoder has behind it before the first label: "espnet" as ESPnet decodes, "clean" as its
`forward` is, and so its training.

- mega, "espnet" if nothing is asked for: ESPnet starts each utterance with a key and a value of
  zeros, which every later label attends to, and a chunk that is complete leaves its last row
  behind for the next one. In "clean" there are no such rows.
- rwkv, "clean" if nothing is asked for: ESPnet starts with a maximum of -1e-30, so keys far below 0
  give NaN. In "clean" it is the -1e38 of the training kernel.
"""
Rescale = Literal["espnet", "clean"]
"""What an rwkv decoder's rescale_every does.

- "espnet", if nothing is asked for: as `Speech2Text` does, the weights of later blocks are divided
  and what they give is halved; their biases are not, so results change.
- "clean": nothing, as in training.
"""


class ExportOptions(Strict):
    """The options of an export; the manifest holds them.

    backends: names; default all that have one of the precisions and run here.
    precisions: of the linear layers, each a set of artifacts of its own; a backend that has one of
        them is left out for the others.
    max_wer_loss: word errors that "auto" may make more than float32, in % of the words.
    query_length: rows of the scores; default key_length.
    key_length: columns of the scores; default 256, or max_positions if that is less.
    context: rows of the decoder's windows; default 256, or what fits if that is less.
    batch: hypotheses a call.
    start: see `Start`; None is the decoder's own default.
    rescale: see `Rescale`; None is the decoder's own default.
    chunk_ms: ESPnet's decoding_window: milliseconds of audio that are encoded at once.
    left_context: encoder frames before a chunk that the encoder sees.
    offline: the frontend and the encoder take whole utterances instead.
    dynamic: the biases take any length up to max_positions, where a backend can; query_length
        and key_length are for the other backends.

    Raises:
        OptionError: an option is unknown, of another type or out of its range.
    """

    backends: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = Field(("fp32",))
    max_wer_loss: float = Field(0.5, ge=0, le=100, allow_inf_nan=False)
    query_length: int | None = Field(None, strict=True)
    key_length: int | None = Field(None, strict=True)
    context: int | None = Field(None, strict=True)
    batch: int = Field(1, strict=True)
    start: Start | None = None
    rescale: Rescale | None = None
    chunk_ms: int = Field(640, strict=True)
    left_context: int = Field(32, strict=True)
    offline: bool = False
    dynamic: bool = False

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise OptionError(_explain(error)) from error
        for name in ("batch", "chunk_ms", "left_context"):
            if getattr(self, name) < 1:
                raise OptionError(f"{_flag(name)} must be at least 1, got {getattr(self, name)}.")
        for name in self.backends:
            exporter(name)
        if not self.precisions:
            raise OptionError(f"--precision names none; choose from {', '.join(PRECISIONS)}.")
        for precision in self.precisions:
            if self.precisions.count(precision) > 1:
                raise OptionError(f"--precision names {precision} twice.")

    @field_validator("backends", mode="before")
    @classmethod
    def _each_once(cls, names: Any) -> Any:
        """Keep the order of the registry: the same wish gives the same bundle."""
        if not isinstance(names, list | tuple):
            return names
        known = [name for name in EXPORTERS if name in names]
        return (*known, *dict.fromkeys(name for name in names if name not in EXPORTERS))

    def plan(self) -> tuple[dict[str, tuple[Precision, ...]], list[str]]:
        """Return the precisions to export to each backend, and a line for each that is left out.

        Raises:
            OptionError: no backend has a precision, or one that was named has none of them; or
                lengths are given and every backend takes any.
            BackendError: no backend runs here.
        """
        unable = {} if self.backends else {name: why for name in EXPORTERS if (why := unmet(name))}
        names = self.backends or [name for name in EXPORTERS if name not in unable]
        if not names:
            raise BackendError(" ".join(unable.values()))
        able = {name: exporter(name).PRECISIONS for name in names}
        supported = "; ".join(f"{name} has {', '.join(has)}" for name, has in able.items())
        for precision in self.precisions:
            if not any(precision in has for has in able.values()):
                raise OptionError(
                    f"--precision {precision}: no backend asked for has it: {supported}."
                )
        plan, left_out = {}, [f"leave out {name}: {why}" for name, why in unable.items()]
        for name, has in able.items():
            plan[name] = tuple(p for p in has if p in self.precisions)
            if self.backends and not plan[name]:
                raise OptionError(
                    f"--backend {name}: has none of --precision {','.join(self.precisions)}: "
                    f"{supported}."
                )
            if missing := [p for p in self.precisions if p not in has]:
                left_out.append(
                    f"leave out {name} for {', '.join(missing)}, which it does not have"
                )
        plan = {name: chosen for name, chosen in plan.items() if chosen}
        self._check_lengths(plan)
        return plan, left_out

    def _check_lengths(self, names: Iterable[str]) -> None:
        given = [name for name in ("query_length", "key_length") if getattr(self, name) is not None]
        if self.dynamic and given and all(exporter(name).DYNAMIC for name in names):
            raise OptionError(
                f"{_flag(given[0])}: {', '.join(names)} takes any length with --dynamic; leave one "
                "of the two out, or add a --backend whose lengths are static."
            )


_FLAGS = {"backends": "--backend", "precisions": "--precision"}
_CHOICES = {"precisions": PRECISIONS, "start": get_args(Start), "rescale": get_args(Rescale)}


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _explain(error: ValidationError) -> str:
    """Return the first problem in the words of the command line."""
    first = error.errors()[0]
    name, value = str(first["loc"][0]), first["input"]
    if first["type"] == "extra_forbidden":
        return f"option {name!r} is unknown; supported: {', '.join(ExportOptions.model_fields)}."
    if name in _CHOICES:
        choices = _CHOICES[name]
        if name == "precisions" and isinstance(value, str):
            return f"--precision {value!r} is unknown; choose from {', '.join(choices)}."
        return f"{_flag(name)} must be {' or '.join(choices)}, got {value!r}."
    kinds = {"int_type": "an int", "bool_parsing": "true or false", "max_wer_loss": "0 to 100"}
    kind = kinds.get(name) or kinds.get(first["type"], "of its type")
    return f"{_flag(name)} must be {kind}, got {value!r}."
