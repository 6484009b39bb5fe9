"""Put ports to `check_parity`, and judge what it says."""

from __future__ import annotations

import copy
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any

import keras
import numpy as np
from pairs.weights import shaken

import compare
from compare.backends.loading import load
from compare.conventions import CONVENTIONS
from compare.errors import InputError
from compare.porting.models import build_model
from verdicts.port import Original, Port
from verdicts.remembered import keras_side_remembered

STEPS = 3
"""A momentum shows at the second step, what accumulates over two at the third."""

PASSED, FAILED, REFUSED, CRASHED = "passed", "failed", "refused", "crashed"


@dataclass(frozen=True)
class Verdict:
    """What came of a port.

    Attributes:
        label: The port's.
        right: Whether it is a right port.
        came: `passed`, `failed`, `refused` (an InputError) or `crashed` (any other exception).
        places: Where the blame should go.
        place: Where it went.
        cause: The convention that is the cause, if the catalogue has it.
        causes: Names that are no wrong ones.
        names: What was named.
        text: The first lines of what the user reads.
        seconds: How long it took.
    """

    label: str
    right: bool
    came: str
    places: tuple[str, ...] = ()
    place: str = ""
    cause: str | None = None
    causes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    text: str = ""
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        """Whether the report says that the two sides differ."""
        return self.came == FAILED

    @property
    def placed(self) -> bool:
        """Whether the blame went where the fault is."""
        return self.caught and self.place in self.places

    @property
    def misnamed(self) -> bool:
        """Whether what is named first is not the cause."""
        return self.caught and bool(self.names) and self.names[0] not in self.causes

    @property
    def named(self) -> bool:
        """Whether what is named first is the cause."""
        return self.caught and bool(self.names) and self.names[0] in self.causes


def judged(port: Port) -> Verdict:
    """The verdict of a check of one port."""
    start = time.monotonic()
    fault = port.fault
    expected: dict[str, Any] = {"label": port.label, "right": fault is None}
    if fault is not None:
        expected |= {
            "places": tuple(sorted(fault.places)),
            "cause": fault.cause if fault.cause in CONVENTIONS else None,
            "causes": tuple(sorted(fault.causes)),
        }
    try:
        report = _checked(port)
    except InputError as error:
        came = {"came": REFUSED, "text": str(error)}
    except Exception as error:  # What a user would see as a traceback is a verdict too.
        came = {"came": CRASHED, "text": f"{type(error).__name__}: {error}"}
    else:
        first = report.first_divergence
        came = {
            "came": PASSED if report.passed else FAILED,
            "place": "" if first is None else first.layer,
            "names": () if first is None else tuple(first.explained_by),
            "text": str(report),
        }
    came["text"] = " ".join(str(came["text"]).splitlines()[:2])[:300]
    return Verdict(**expected, **came, seconds=time.monotonic() - start)


def _checked(port: Port) -> compare.ParityReport:
    original = port.original
    model = _model(original, port.dtype)
    x, y = original.inputs(np.random.default_rng(2))
    module = build_model("torch", port.build, port.dtype)
    options: dict[str, Any] = {"steps": STEPS, **original.options, **port.objective}
    if port.right is None:
        options["weights_from"] = "keras"
    else:
        module.load_state_dict(_carried(original, port.right, port.dtype), strict=False)
    if port.spoil is not None:
        port.spoil(module)
    return compare.check_parity(model, module, x, y, dtype=port.dtype, allow=port.allow, **options)


@cache
def _model(original: Original, dtype: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    return shaken(build_model("keras", original.build, dtype))


@cache
def _carried(original: Original, right: Callable[[], Any], dtype: str) -> dict[str, Any]:
    """The weights of the Keras model in its right port, as a state that others can load."""
    module = build_model("torch", right, dtype)
    x, _ = original.inputs(np.random.default_rng(2))
    options = {k: v for k, v in original.options.items() if k in ("pairs", "to_torch")}
    model = _model(original, dtype)
    compare.port_weights(model, module, x=x, **options)
    return copy.deepcopy(module.state_dict())


def all_judged(ports: Sequence[Port]) -> Iterator[Verdict]:
    """The verdicts of ports, in this process; a Keras model is traced once for all of its ports."""
    with warnings.catch_warnings(), keras_side_remembered():
        warnings.simplefilter("ignore")
        yield from map(judged, ports)


def configure() -> None:
    """One thread for each framework: small operations gain nothing from more."""
    for name in ("keras", "torch"):
        load(name).configure(dtype="float64", threads=1)


def in_processes(
    ports: Sequence[Port], jobs: int, load: Callable[[Collection[str]], Sequence[Port]]
) -> Iterator[Verdict]:
    """The verdicts of ports, as they come from several processes.

    Args:
        ports: All ports of one Keras model in one dtype go to the same process.
        jobs: Number of processes.
        load: Finds ports by their labels: a process builds its own.
    """
    groups: dict[Any, list[str]] = defaultdict(list)
    for port in ports:
        groups[port.original.name, port.dtype].append(port.label)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=configure) as pool:
        # The longest first: the end is then shared.
        work = sorted(groups.values(), key=len, reverse=True)
        for done in as_completed([pool.submit(_group, load, labels) for labels in work]):
            yield from done.result()


def _group(
    load: Callable[[Collection[str]], Sequence[Port]], labels: Collection[str]
) -> list[Verdict]:
    return list(all_judged(load(labels)))
