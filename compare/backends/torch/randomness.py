"""The random numbers of a module: asked for anywhere below it, taken from elsewhere.

Torch marks every operation that draws numbers. Below `nn.Dropout`, `F.dropout`, attention,
recurrent layers and a user's own code it is the same few, which get other numbers while a block
runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from compare.backends.draws import Draw, Draws, Kind
from compare.backends.reordering import Values
from compare.backends.structures import leaves
from compare.backends.torch.preserve_state import LOOKING
from compare.backends.torch.structures import to_numpy


@contextmanager
def shared(module: nn.Module, draws: Draws) -> Iterator[None]:
    """While the block runs, every draw of Torch gets its numbers from `draws`.

    `draws.begin` says which step it is. Generators go on as they would; see `as_found`.

    Args:
        module: The module whose parts are named.
        draws: Gives the numbers, and records what was asked for.
    """
    asking = _Asking(module, draws)
    with ExitStack() as stack:
        stack.callback(register_module_forward_pre_hook(asking.enter).remove)
        stack.callback(register_module_forward_hook(asking.leave, always_call=True).remove)
        stack.enter_context(asking)
        yield


def random_state() -> bytes:
    """See `TorchFramework.random_state`."""
    return torch.get_rng_state().numpy().tobytes()


@contextmanager
def undropped(module: nn.Module) -> Iterator[None]:
    """See `Framework.undropped`; what draws otherwise goes on to."""
    with ExitStack() as stack:
        for part in module.modules():
            # What the same names mean in a user's own module is not known.
            own = not type(part).__module__.startswith("torch.nn.")
            for name in () if own else ("p", "dropout"):
                if type(value := vars(part).get(name)) is float:
                    stack.callback(vars(part).__setitem__, name, value)
                    vars(part)[name] = 0.0
        stack.enter_context(_Undropped())
        yield


class _Undropped(TorchFunctionMode):
    """Functions that drop do nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name.removesuffix("_") in _DROPPING:
            x = args[0] if args else kwargs["input"]
            return x if isinstance(x, Tensor) else func(*args, **kwargs)
        if name == "scaled_dot_product_attention":
            if len(args) > 4:
                args = (*args[:4], 0.0, *args[5:])
            kwargs = {**kwargs, "dropout_p": 0.0} if "dropout_p" in kwargs else kwargs
        return func(*args, **kwargs)


_DROPPING = (
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"),
    *("feature_dropout", "feature_alpha_dropout"),
)


class _Running:
    """A module that runs: what it received, and the places of what it drew."""

    def __init__(self, module: nn.Module, received: Any) -> None:
        self.module, self.received = module, received
        self.places: list[int] = []


class _Asking(TorchDispatchMode):
    """Gives its own numbers to every operation that draws."""

    def __init__(self, root: nn.Module, draws: Draws) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._root, self._draws = root, draws
        self._paths = {part: path.replace(".", "/") for path, part in root.named_modules()}
        self._running: list[_Running] = []
        self._made: tuple[Tensor, Tensor] | None = None
        self._states: dict[bytes, Values] = {}

    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A module begins to run."""
        self._running.append(_Running(module, _first_tensor(args)))

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A module has run."""
        running = self._running.pop()
        value = self._seen(_first_tensor(output))
        if value is not None:
            if module is self._root:
                self._draws.output(value)
            for place in running.places:
                self._draws.returned(place, value)

    def _seen(self, value: Tensor | None) -> Values | None:
        return to_numpy(value) if self._draws.observing and value is not None else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if LOOKING.get():
            return func(*args, **kwargs)
        if torch.Tag.nondeterministic_seeded not in func.tags:
            output = func(*args, **kwargs)
            if name in _MADE_LIKE and isinstance(args[0], Tensor):
                self._made = output, args[0]
            return output
        if (drawing := _DRAWING.get(name)) is None:
            # In inference mode a composite operation is not yet taken apart.
            apart = _dropout if name == "native_dropout" else func.decompose
            with self:
                output = apart(*args, **kwargs)
            if output is NotImplemented:
                self._draws.refuse(f"{self._path() or 'the module itself'} (torch.{name})")
                output = func(*args, **kwargs)
            return output
        state = random_state()
        # It makes the tensor, and moves the generator on.
        output = func(*args, **kwargs)
        call = _Call(name, func, args, kwargs, output)
        return output.copy_(drawing(call, lambda **how: self._take(call, state, **how)))

    def _path(self) -> str:
        return self._paths.get(self._running[-1].module, "") if self._running else ""

    def _take(
        self,
        call: _Call,
        state: bytes,
        *,
        kind: Kind,
        rate: float | None = None,
        thresholded: bool = False,
    ) -> Tensor:
        """Numbers of the output's shape and dtype."""
        output = call.output
        # What is computed again on the way back finds the generator as it was the first time.
        again = torch._C._current_graph_task_id() != -1
        if again and state in self._states:
            values = self._states[state]
        else:
            running = self._running[-1] if self._running else None
            draw = Draw(
                kind,
                tuple(output.shape),
                self._path(),
                "" if running is None else _named(running.module),
                rate,
                thresholded,
            )
            place, values = self._draws.take(draw, self._seen(self._falls_on(call)))
            self._states[state] = values
            if running is not None:
                running.places.append(place)
        return torch.tensor(values, dtype=output.dtype)

    def _falls_on(self, call: _Call) -> Tensor | None:
        """What the numbers are for: what they were made like, else what the module received."""
        if call.name in _MADE_LIKE:
            like: Tensor = call.args[0]
            return like
        filled = call.args[0] if call.args and isinstance(call.args[0], Tensor) else None
        if filled is not None and self._made is not None and self._made[0] is filled:
            return self._made[1]
        return self._running[-1].received if self._running else None


def _named(module: nn.Module) -> str:
    """What draws: one of Torch's own modules, or code of the user's."""
    name = type(module).__name__
    return name if type(module).__module__.startswith("torch.nn.") else f"{name}.forward"


def _dropout(x: Tensor, rate: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """What is one operation in inference mode and on some devices."""
    kept = torch.empty_like(x).bernoulli_(1.0 - rate)
    return x * kept / (1.0 - rate), kept.bool()


def _first_tensor(structure: Any) -> Tensor | None:
    return next((leaf for _, leaf in leaves(structure) if isinstance(leaf, Tensor)), None)


_MADE_LIKE = (
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("new_empty", "new_zeros", "new_ones", "new_full"),
)


class _Call:
    """An operation that draws: its arguments by name, and the tensor that it returned."""

    def __init__(
        self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Tensor
    ) -> None:
        self.name, self.args, self.output = name, args, output
        self._named = {
            argument.name: args[at] if at < len(args) else kwargs.get(argument.name)
            for at, argument in enumerate(func._schema.arguments)
        }

    def number(self, name: str, default: float) -> Any:
        """An argument, a number or a tensor of numbers."""
        value = self._named.get(name)
        return default if value is None else value


Take = Callable[..., Tensor]


def _bernoulli(call: _Call, take: Take) -> Tensor:
    share = call.number("p", 0.5)
    if call.name == "bernoulli" and "p" not in call._named:
        share = call.args[0]
    alike = not isinstance(share, Tensor) or (
        share.numel() > 0 and bool((share == share.flatten()[0]).all())
    )
    rate = (
        (1.0 - float(share.flatten()[0] if isinstance(share, Tensor) else share)) if alike else None
    )
    kept: Tensor = take(kind="uniform", rate=rate, thresholded=True) >= 1.0 - share
    return kept


def _uniform(call: _Call, take: Take) -> Tensor:
    low, high = call.number("from", 0.0), call.number("to", 1.0)
    values: Tensor = take(kind="uniform") * (high - low) + low
    return values


def _normal(call: _Call, take: Take) -> Tensor:
    values: Tensor = take(kind="normal") * call.number("std", 1.0) + call.number("mean", 0.0)
    return values


_DRAWING: Mapping[str, Callable[[_Call, Take], Tensor]] = {
    "bernoulli": _bernoulli,
    "bernoulli_": _bernoulli,
    "rand": _uniform,
    "rand_like": _uniform,
    "uniform_": _uniform,
    "randn": _normal,
    "randn_like": _normal,
    "normal": _normal,
    "normal_": _normal,
}
"""Operation → what it makes of numbers; what others draw is not shared."""
