"""A trace: everything that a few training steps computed in one framework, as named arrays.

A folder of `.npy` files and an index. Arrays are read one at a time, mapped from the file, so that
two traces of a large network are compared without holding either in memory. A layer that runs again
is `<layer>#2` there. Where samples or outputs are several, each has its index or key behind it.

```
initial/<layer>/<tensor>               weights and moving statistics before the first step
step/<n>/data/{x,y}                    the batch, in Keras' layout
training/<layer>/{input,output}        first step; outputs before a fused activation; what a layer
                                       receives beside: input_value, input_key …
step/<n>/loss                          where there are targets, else:
step/1/prediction                      the output in training mode; of several, with index or key
backward/<layer>/{input,output}        first step: gradients of the loss, where there are any; of an
                                       input, the part that passes through this layer
gradient/<layer>/<tensor>              first step; of later ones:
step/<n>/gradient/<layer>/<tensor>     what reached the optimizer
step/<n>/occurrences/<layer>/<tensor>/{rows,values}
                                       a gradient that came as rows, before they are added up
step/<n>/rule/<layer>/<tensor>         how its optimizer moves it (`backends.optimizer_rule`), text
step/<n>/weights/<layer>/<tensor>      after the step
step/<n>/slots/<layer>/<tensor>/<slot>
step/0/slots/…                         before the first step, where the optimizer has any then
step/1/optimizer/<name>                what else it keeps after the first step, in its framework's
                                       terms: a real step is held against it, the other side never
step/<n>/statistics/<layer>/<tensor>   moving statistics after the step
evaluation/<layer>/{input,output}      in inference mode, after the last step, on the first batch
prediction                             the output there; of several, prediction/<index or key>
error                                  what the framework raised, if it did: the trace ends there
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Layer = dict[str, Any]
"""A weighted layer: `name`, `kind`, `tensors` (name → shape), `trained` (number of values), and
`settings` (name → value in Keras' conventions)."""

Operation = dict[str, Any]
"""What runs in a model: `name`, `kind` (empty where it has weights, which a `Layer` describes),
and `settings` (name → value in Keras' conventions)."""

View = Callable[[NDArray[Any]], NDArray[Any]]
"""What is read of an array: a part of it, or its elements in another order."""

Place = tuple[int, np.dtype[Any], tuple[int, ...]]
"""Where the values of a file begin, their type, and the shape of the array."""

_PREFIX = re.compile(
    r"(initial|training|evaluation|gradient|backward"
    r"|step/\d+/(weights|slots|statistics|gradient|occurrences|rule))/"
)
_STEP = re.compile(r"step/(\d+)/data/x(?:/|$)")


def split(key: str) -> tuple[str, str]:
    """What an array is of, and the rest of its name, which begins with a layer's.

    `"step/1/slots/hidden/kernel/velocity"` is `("step/1/slots", "hidden/kernel/velocity")`; of what
    belongs to no layer the first part is empty.
    """
    prefix = _PREFIX.match(key)
    return (prefix[1], key[prefix.end() :]) if prefix else ("", key)


def rename(key: str, names: Mapping[str, str]) -> str:
    """The name of an array whose layer is called otherwise.

    Args:
        key: Its name.
        names: Old name of a layer → new name.
    """
    group, inner = split(key)
    fitting = [old for old in names if inner.startswith((f"{old}/", f"{old}#"))]
    if not group or not fitting:
        return key
    old = max(fitting, key=len)
    return f"{group}/{names[old]}{inner.removeprefix(old)}"


class TraceWriter:
    """Writes a trace; call it with a name and an array, close it with the layers.

    Args:
        folder: Where it goes; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, str] = {}
        self._places: dict[str, Place] = {}

    def __call__(self, name: str, array: NDArray[Any]) -> None:
        file = f"{len(self._files)}.npy"
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        with (self._folder / file).open("wb") as opened:
            np.save(opened, array, allow_pickle=False)
            self._places[file] = opened.tell() - array.nbytes, array.dtype, array.shape
        self._files[name] = file

    def alias(self, name: str, existing: str) -> None:
        """Note that an array is the very one already written under another name."""
        self._files[name] = self._files[existing]

    def so_far(self, layers: Sequence[Layer]) -> Trace:
        """What has been written, for reading."""
        return Trace(self._folder, dict(self._files), list(layers), places=dict(self._places))

    def close(self, layers: list[Layer]) -> Trace:
        """Write the index; returns the trace for reading."""
        index = {"files": self._files, "layers": layers}
        (self._folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
        return self.so_far(layers)


@dataclass(frozen=True)
class Trace(Mapping[str, NDArray[Any]]):
    """A trace for reading: name → array, mapped from its file.

    Attributes:
        folder: Where it is.
        files: Name → file.
        layers: The weighted layers in the order in which they ran.
        views: Name → what is read of an array instead of all of it as it stands.
        places: File → where its values are, as far as is known: most of what reading takes.
    """

    folder: Path
    files: dict[str, str]
    layers: list[Layer]
    views: Mapping[str, View] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path) -> Trace:
        """Open a trace that `TraceWriter` closed."""
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return cls(folder, index["files"], index["layers"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        file = self.folder / self.files[name]
        offset, dtype, shape = self.places.get(file.name, (None, None, ()))
        array: NDArray[Any]
        if offset is None or 0 in shape:
            array = np.load(file, mmap_mode=None if 0 in shape else "r")
        else:
            array = np.memmap(file, dtype, "r", offset, shape)
        return self.views[name](array) if name in self.views else array

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def steps(self) -> int:
        """Number of training steps, or of forward passes in training mode."""
        matches = (_STEP.match(name) for name in self.files)
        return max((int(match[1]) for match in matches if match), default=0)

    def renamed(self, names: Mapping[str, str]) -> Trace:
        """The same trace with layers called otherwise: old name → new name."""
        layers = [
            {**layer, "name": names.get(layer["name"], layer["name"])} for layer in self.layers
        ]
        views = {rename(key, names): view for key, view in self.views.items()}
        files = {rename(key, names): file for key, file in self.files.items()}
        return Trace(self.folder, files, layers, views, self.places)

    def viewed(self, views: Mapping[str, View]) -> Trace:
        """The same trace with some arrays read otherwise.

        Args:
            views: Name → what is read of the array as it is read so far.
        """
        return replace(self, views={**self.views, **{k: self._after(k, views[k]) for k in views}})

    def _after(self, name: str, view: View) -> View:
        before = self.views.get(name)
        return view if before is None else lambda array: view(before(array))
