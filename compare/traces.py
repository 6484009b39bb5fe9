"""A trace: everything that a few training steps computed in one framework, as named arrays.

A folder of `.npy` files and an index. Arrays are read one at a time, mapped from the file, so that
two traces of a large network are compared without holding either in memory.

```
initial/<layer>/<tensor>               weights and moving statistics before the first step
step/<n>/data/{x,y}                    the batch, in Keras' layout
training/<layer>/{input,output}        first step; outputs before a fused activation
step/<n>/loss
backward/<layer>/{input,output}        first step: gradients of the loss, where there are any
gradient/<layer>/<tensor>              first step
step/<n>/weights/<layer>/<tensor>      after the step
step/<n>/slots/<layer>/<tensor>/<slot>
step/<n>/statistics/<layer>/<tensor>   moving statistics after the step
evaluation/<layer>/{input,output}      in inference mode, after the last step, on the first batch
evaluation/output                      of the model
error                                  what the framework raised, if it did: the trace ends there
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layer = dict[str, Any]
"""A weighted layer: `name`, `kind`, `tensors` (name → shape), `trained` (number of values)."""


_PREFIX = re.compile(r"(initial|training|evaluation|gradient|step/\d+/(weights|slots|statistics))/")


class TraceWriter:
    """Writes a trace; call it with a name and an array, close it with the layers.

    Args:
        folder: Where it goes; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, str] = {}

    def __call__(self, name: str, array: NDArray[Any]) -> None:
        file = f"{len(self._files)}.npy"
        np.save(self._folder / file, array, allow_pickle=False)
        self._files[name] = file

    def close(self, layers: list[Layer]) -> Trace:
        """Write the index; returns the trace for reading."""
        index = {"files": self._files, "layers": layers}
        (self._folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
        return Trace.open(self._folder)


@dataclass(frozen=True)
class Trace(Mapping[str, NDArray[Any]]):
    """A trace for reading: name → array, mapped from its file.

    Attributes:
        folder: Where it is.
        files: Name → file.
        layers: The weighted layers in the order in which they ran.
    """

    folder: Path
    files: dict[str, str]
    layers: list[Layer]

    @classmethod
    def open(cls, folder: Path) -> Trace:
        """Open a trace that `TraceWriter` closed."""
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return cls(folder, index["files"], index["layers"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.folder / self.files[name], mmap_mode="r")
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return sum(name.endswith("/data/x") for name in self.files)

    def renamed(self, names: Mapping[str, str]) -> Trace:
        """The same trace with layers called otherwise: old name → new name."""

        def new(key: str) -> str:
            prefix = _PREFIX.match(key)
            inner = key[prefix.end() :] if prefix else ""
            fitting = [old for old in names if inner.startswith(f"{old}/")]
            if prefix is None or not fitting:
                return key
            old = max(fitting, key=len)
            return prefix.group() + names[old] + inner.removeprefix(old)

        layers = [
            {**layer, "name": names.get(layer["name"], layer["name"])} for layer in self.layers
        ]
        return Trace(self.folder, {new(key): file for key, file in self.files.items()}, layers)
