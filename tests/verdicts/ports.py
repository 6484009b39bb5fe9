"""All ports, and those that somebody asks for."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from functools import cache

from verdicts.dropout_ports import dropout_ports
from verdicts.image_ports import image_ports
from verdicts.loss_ports import loss_ports
from verdicts.port import Port
from verdicts.right import right_ports
from verdicts.sequence_ports import sequence_ports
from verdicts.training_ports import training_ports
from verdicts.wrong import wrong_ports

SMALL = (training_ports, loss_ports, image_ports, sequence_ports, dropout_ports)
"""What gives ports of small networks, right ones and wrong ones."""


@cache
def all_ports() -> tuple[Port, ...]:
    """Every port; no two of one label."""
    small = (port for ports in SMALL for port in ports())
    ports = (*wrong_ports(), *right_ports(), *small)
    labels = [port.label for port in ports]
    doubled = {label for label in labels if labels.count(label) > 1}
    if doubled:
        raise ValueError(f"several ports are called {', '.join(sorted(doubled))}")
    return ports


def labelled(labels: Collection[str]) -> list[Port]:
    """The ports of these labels, in the order of all ports."""
    wanted = set(labels)
    return [port for port in all_ports() if port.label in wanted]


def chosen(
    *, only: str = "", right: bool = False, wrong: bool = False, sample: int | None = None
) -> Sequence[Port]:
    """The ports that somebody asks for.

    Args:
        only: Part of a label.
        right: Right ones alone.
        wrong: Wrong ones alone.
        sample: How many of them, drawn at random, the same each time; None for all.
    """
    ports = [
        port
        for port in all_ports()
        if only in port.label
        and not (right and port.fault is not None)
        and not (wrong and port.fault is None)
    ]
    if sample is None or sample >= len(ports):
        return ports
    drawn = sorted(random.Random(0).sample(range(len(ports)), sample))
    return [ports[number] for number in drawn]
