"""The `parity` fixture and its options, there without an import once the package is installed.

```python
def test_port(parity):
    parity(build_keras, build_torch, x, y, weights_from="keras")
```

`@pytest.mark.parity(dtype=…, steps=…, allow=…, tolerances=…)` sets options of the fixture for a
test, a class or a module. `--parity-report FILE` writes what was found, `--parity-golden` records
both sides or checks one against its recording.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Nothing of the package is imported here: who does not use the fixture does not pay for it.
if TYPE_CHECKING:
    from compare.check_report import ParityReport

_MODES = ("record", "replay")
_PROPERTY = "bn-compare parity"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("parity", "parity of Keras and Torch models")
    group.addoption(
        "--parity-report",
        metavar="FILE",
        help="Write what the parity fixture found to FILE.html or FILE.json.",
    )
    group.addoption(
        "--parity-golden",
        nargs=2,
        metavar=("MODE", "DIR"),
        help="record: save both sides of every pair in DIR. replay: check one side against the "
        "recording of the other, whose framework need not be installed.",
    )
    group.addoption(
        "--parity-live",
        choices=("keras", "torch"),
        help="With replay: the side that is run; by default Torch where it is installed.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and check the options."""
    config.addinivalue_line(
        "markers",
        "parity(dtype, steps, allow, tolerances, …): options of the fixture parity, as of "
        "compare.check_parity.",
    )
    golden, report = config.getoption("--parity-golden"), config.getoption("--parity-report")
    if golden is not None and golden[0] not in _MODES:
        raise pytest.UsageError(
            f"--parity-golden: expected record DIR or replay DIR, received {' '.join(golden)}."
        )
    if golden is not None and golden[0] == "replay" and not Path(golden[1]).is_dir():
        raise pytest.UsageError(f"--parity-golden replay: {golden[1]} is not a folder.")
    if config.getoption("--parity-live") and (golden is None or golden[0] != "replay"):
        raise pytest.UsageError(
            "--parity-live says what runs beside a recording: add --parity-golden replay DIR."
        )
    if report is not None and Path(report).suffix not in (".html", ".json"):
        raise pytest.UsageError(
            f"--parity-report: expected a file that ends in .html or .json, received {report}."
        )
    if report is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(Path(report)))


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Callable[..., ParityReport]:
    """`compare.check_parity`, raising `ParityError` where the two sides differ."""
    defaults: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("parity"))):
        if mark.args:
            raise pytest.UsageError(
                f"{request.node.nodeid}: the parity marker takes keywords alone, received "
                f"{mark.args!r}."
            )
        defaults |= mark.kwargs
    numbers: Iterator[int] = iter(range(1, 1_000_000))

    def check(
        keras_model: Any, torch_module: Any, x: Any, y: Any = None, **options: Any
    ) -> ParityReport:
        __tracebackhide__ = True
        models, data = (keras_model, torch_module), (x, y)
        report = _check(request, models, data, {**defaults, **options}, next(numbers))
        if request.config.getoption("--parity-report"):
            found = json.dumps({"test": request.node.nodeid, **report.to_json()})
            request.node.user_properties.append((_PROPERTY, found))
        report.raise_if_diverged()
        return report

    return check


def _check(
    request: pytest.FixtureRequest,
    models: tuple[Any, Any],
    data: tuple[Any, Any],
    options: dict[str, Any],
    number: int,
) -> ParityReport:
    __tracebackhide__ = True
    golden = request.config.getoption("--parity-golden")
    if golden is None:
        from compare.check import check_parity

        return check_parity(*models, *data, **options)
    from compare import golden_check
    from compare.check import Options

    mode, folder = golden
    place = Path(folder) / _name(request.node.nodeid, number)
    if mode == "record":
        return golden_check.record(place, models, data, Options(**options))
    alive = request.config.getoption("--parity-live") or _installed()
    return golden_check.replay(place, alive, models, data, Options(**options))


def _name(nodeid: str, number: int) -> str:
    """A folder for one check of a test: readable, and never that of another."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", nodeid).strip("-")[:80]
    unique = hashlib.sha256(nodeid.encode()).hexdigest()[:8]
    return f"{readable}-{unique}" + (f"-{number}" if number > 1 else "")


def _installed() -> str:
    from compare.errors import MissingDependencyError
    from compare.frameworks import check_installed

    try:
        check_installed(["torch"])
    except MissingDependencyError:
        return "keras"
    return "torch"


class _Report:
    """Writes what was found, where the results of a session come together."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.found: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what a test found, in a worker of pytest-xdist too."""
        if report.when == "call":
            self.found += [
                json.loads(str(value))
                for name, value in report.user_properties
                if name == _PROPERTY
            ]

    def pytest_sessionfinish(self) -> None:
        """Write it all."""
        from compare.check_report import page

        self.found.sort(key=lambda found: str(found["test"]))
        if self.target.suffix == ".html":
            text = page(self.found)
        else:
            passed = all(found["passed"] for found in self.found)
            text = json.dumps({"passed": passed, "pairs": self.found}, indent=1) + "\n"
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.target.write_text(text, encoding="utf-8")
