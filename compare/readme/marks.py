"""Where in the README a block stands: between two marks that name it."""

from __future__ import annotations

from compare.errors import InputError

_START = (
    "<!-- {name}, from here: written by `bn-compare readme`, checked by tests/test_readme.py. -->"
)
_END = "<!-- {name}, to here. -->"


def marks(name: str) -> tuple[str, str]:
    """The lines before and after a block."""
    return _START.format(name=name), _END.format(name=name)


def block_of(text: str, name: str, where: str) -> str:
    """What stands between the marks of a block.

    Args:
        text: The README.
        name: The block's.
        where: How a message names the README.

    Raises:
        InputError: A mark is missing, there twice, or after the other one.
    """
    return _parts(text, name, where)[1]


def replaced(text: str, name: str, block: str, where: str) -> str:
    """The README with another block between its marks.

    Args:
        text: The README.
        name: The block's.
        block: What shall stand there.
        where: How a message names the README.

    Raises:
        InputError: A mark is missing, there twice, or after the other one.
    """
    before, _, after = _parts(text, name, where)
    start, end = marks(name)
    return f"{before}{start}{framed(block)}{end}{after}"


def framed(block: str) -> str:
    """A block with the empty lines that part it from its marks."""
    return f"\n\n{block}\n\n"


def _parts(text: str, name: str, where: str) -> tuple[str, str, str]:
    """What is before, between and after the marks."""
    start, end = marks(name)
    before, _, rest = text.partition(start)
    between, _, after = rest.partition(end)
    found = text.count(start), text.count(end)
    if found != (1, 1) or end not in rest:
        received = "them in another order" if found == (1, 1) else f"{found[0]} and {found[1]}"
        raise InputError(
            f"{where}: expected the lines {start!r} and {end!r} in it, each once and in this "
            f"order, received {received}: put them where the block shall stand."
        )
    return before, between, after
