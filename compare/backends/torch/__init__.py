"""Torch and Lightning behind the protocol: `adapter` is the way in, and leads to the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare.backends.protocol import TorchFramework
    from compare.backends.torch import adapter

    _CHECKED: TorchFramework = adapter
