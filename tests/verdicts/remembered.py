"""Keras' side of a check, computed once for all ports of one model.

A check leaves the models as they were, and the tests of the package hold it to that: what a side
gives for the same model, samples and arguments is then the same, however often it is asked. Only
Keras' side is kept: the module is another one in each check.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from compare.porting.models import KerasSide

ASKED = ("trace", "repeats", "real_step")
"""What takes long; a method that a version of `KerasSide` has not is left alone."""


@contextmanager
def keras_side_remembered() -> Iterator[None]:
    """While the block runs, a Keras model is traced once for each set of arguments."""
    with ExitStack() as stack:
        kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verdicts-")))
        answers: dict[Any, Any] = {}
        for name in ASKED:
            if hasattr(KerasSide, name):
                method = _remembering(getattr(KerasSide, name), name, answers, kept)
                stack.enter_context(mock.patch.object(KerasSide, name, method))
        yield


def _remembering(
    method: Callable[..., Any], name: str, answers: dict[Any, Any], kept: Path
) -> Callable[..., Any]:
    def remembered(side: KerasSide, *args: Any, **options: Any) -> Any:
        # A folder is where a trace goes, not what it is of: one that outlives the check.
        of = [arg for arg in args if not isinstance(arg, Path)]
        try:
            key = name, id(side.model), pickle.dumps((of, options))
        except (pickle.PicklingError, AttributeError, TypeError):
            return method(side, *args, **options)
        if key not in answers:
            folders = [Path(tempfile.mkdtemp(dir=kept)) if isinstance(a, Path) else a for a in args]
            # The model is kept beside the answer: no other may get its id.
            answers[key] = method(side, *folders, **options), side.model
        return answers[key][0]

    return remembered
