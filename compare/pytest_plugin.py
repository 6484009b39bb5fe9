"""The `parity` fixture, there without an import once the package is installed.

```python
def test_port(parity):
    parity(build_keras(), build_torch(), x, y)
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from compare.check import ParityReport


@pytest.fixture
def parity() -> Callable[..., ParityReport]:
    """`compare.check_parity`, raising `ParityError` where the two sides differ."""

    def check(*args: Any, **kwargs: Any) -> ParityReport:
        # Imported here: whoever does not use the fixture does not pay for it.
        from compare.check import check_parity

        __tracebackhide__ = True
        report = check_parity(*args, **kwargs)
        report.raise_if_diverged()
        return report

    return check
