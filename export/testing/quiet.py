"""Silence for what exporters say on their way: it is not the user's."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("torch", "torch.onnx", "onnxscript", "onnx_ir", "executorch", "torchao", "coremltools")


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings, also where Python turns them into errors, and the exporters' own lines."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
