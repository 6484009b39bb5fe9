"""Set aside what live objects hold, and put it back: their attributes, and what is in them.

Training gives models and optimizers attributes, fills their lists and dictionaries, and counts in
them. What it does to a list or a dictionary is undone in that very one, since others may hold it.
"""

from __future__ import annotations

import operator
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_CONTAINERS = (OrderedDict, dict, list, set, deque)

PutBack = Callable[[], None]

Keep = Callable[[Any], PutBack | None]
"""Sets a value aside that changes in place, such as a tensor; None of what is no such value."""


@contextmanager
def attributes_as_found(
    roots: Iterable[Any], opened: tuple[type, ...], keep: Keep
) -> Iterator[None]:
    """Put back everything that can be reached from some objects.

    Args:
        roots: Where to begin.
        opened: Types of objects whose attributes are set aside; others are put back as they are,
            without a look inside. Lists, tuples, dictionaries and sets are always looked into.
        keep: Called once with everything else.
    """
    put_back = list(_set_aside(roots, opened, keep))
    try:
        yield
    finally:
        for undo in put_back:
            undo()


def _set_aside(roots: Iterable[Any], opened: tuple[type, ...], keep: Keep) -> Iterator[PutBack]:
    left, seen = list(roots), dict[int, Any]()
    while left:
        thing = left.pop()
        if id(thing) in seen or isinstance(thing, (str, bytes, int, float, type(None))):
            continue
        # Held here, so that no other object comes by the same identity.
        seen[id(thing)] = thing
        container: Any = None
        if isinstance(thing, opened):
            container = vars(thing)
        elif isinstance(thing, _CONTAINERS):
            # What only passes for a container, as a proxy of TensorFlow's does, stands for another.
            real = issubclass(type(thing), _CONTAINERS)
            container = thing if real else getattr(thing, "__wrapped__", ())
            # Some keep their contents in an attribute of theirs, as a second time.
            left.append(getattr(thing, "__dict__", None))
        elif isinstance(thing, tuple):
            left.extend(thing)
        elif (undo := keep(thing)) is not None:
            yield undo
        if container is not None:
            left.extend(container.values() if isinstance(container, dict) else container)
            yield _undo(container)


def _undo(container: Any) -> PutBack:
    """What puts the same things into a container again, whatever its class does as things come."""
    before = _contents(container)
    kind: Any = next(kind for kind in _CONTAINERS if isinstance(container, kind))

    def undo() -> None:
        now = _contents(container)
        if len(now) == len(before) and all(map(operator.is_, now, before)):
            return
        kind.clear(container)
        if isinstance(container, dict):
            for key, value in zip(before[::2], before[1::2], strict=True):
                kind.__setitem__(container, key, value)
        else:
            (set.update if kind is set else kind.extend)(container, before)

    return undo


def _contents(container: Any) -> list[Any]:
    """What is in a container, each value of a dictionary after its key."""
    if isinstance(container, dict):
        return [part for pair in container.items() for part in pair]
    return list(container)
