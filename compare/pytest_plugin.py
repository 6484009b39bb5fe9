"""The `parity` fixture and its options; pytest finds them once the package is installed.

```python
def test_port(parity):
    parity(build_keras, build_torch, x, y, weights_from="keras")
```

`@pytest.mark.parity(dtype=…, steps=…, allow=…, tolerances=…)` sets options of the fixture for a
test, a class or a module. `--parity-report FILE` writes the results, `--parity-golden` records both
sides or checks one against the recording of the other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import itertools
import json
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from compare.errors import CompareError, InputError, MissingDependencyError, unknown

# Nothing else of the package is imported here: who does not use the fixture does not pay for it.
if TYPE_CHECKING:
    from compare.parity.report import ParityReport

_ATTRIBUTE = "bn_compare_parity"
_RESULTS: pytest.StashKey[list[str]] = pytest.StashKey()
"""The results of a test's checks, each as JSON: only simple types pass between processes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("parity", "parity of Keras and Torch models")
    group.addoption(
        "--parity-report",
        metavar="FILE",
        help="Write the results of the parity fixture to FILE.html or FILE.json.",
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
        "parity(dtype, steps, allow, tolerances, …): options of the parity fixture, the same as "
        "those of compare.check_parity.",
    )
    _check_golden(config)
    if config.getoption("--parity-report") is not None:
        target = Path(config.getoption("--parity-report"))
        _check_report(target)
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(_Report(target))


def _check_golden(config: pytest.Config) -> None:
    mode, folder = config.getoption("--parity-golden") or (None, "")
    if mode not in (None, "record", "replay"):
        raise pytest.UsageError(
            f"--parity-golden: expected record DIR or replay DIR, received {mode} {folder}."
        )
    if mode == "replay" and not Path(folder).is_dir():
        raise pytest.UsageError(f"--parity-golden replay: {folder} is not a folder.")
    if config.getoption("--parity-live") and mode != "replay":
        raise pytest.UsageError(
            "--parity-live says what runs beside a recording: add --parity-golden replay DIR."
        )


def _check_report(target: Path) -> None:
    """Refuse at once what would otherwise fail after all tests ran."""
    if target.suffix not in (".html", ".json"):
        raise pytest.UsageError(
            f"--parity-report: expected a file that ends in .html or .json, received {target}."
        )
    if target.suffix == ".html" and importlib.util.find_spec("jinja2") is None:
        raise pytest.UsageError(
            f"--parity-report {target}: a page needs jinja2: pip install 'bn-compare[report]', or "
            "write .json."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(f"--parity-report: cannot make a folder: {error}.") from None
    if target.is_dir():
        raise pytest.UsageError(f"--parity-report: expected a file, {target} is a folder.")


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Callable[..., ParityReport]:
    """`compare.check_parity`, raising `ParityError` where the two sides differ."""
    defaults = _marked(request.node)
    results = request.node.stash.setdefault(_RESULTS, [])
    numbers = itertools.count(1)

    def check(
        keras_model: Any, torch_module: Any, x: Any, y: Any = None, **options: Any
    ) -> ParityReport:
        __tracebackhide__ = True
        from compare.parity.report import refused

        test, number = request.node.nodeid, next(numbers)
        name = test if number == 1 else f"{test} #{number}"

        def add(result: dict[str, Any]) -> None:
            results.append(json.dumps({"test": name, **result}))

        models, data, options = (keras_model, torch_module), (x, y), {**defaults, **options}
        try:
            report = _check(request.config, _folder(test, number), models, data, options)
        except CompareError as error:
            add(refused(str(error)))
            # Neither the frames of this package nor what a framework raised are the user's matter.
            raise error.with_traceback(None) from None
        except Exception as error:
            add(refused(f"{type(error).__name__}: {error}"))
            raise
        add(report.to_json())
        report.raise_if_diverged()
        return report

    return check


def _marked(node: Any) -> dict[str, Any]:
    """The options of all markers of a test; the nearest wins."""
    options: dict[str, Any] = {}
    for mark in reversed(list(node.iter_markers("parity"))):
        try:
            if mark.args:
                raise InputError(f"expected keywords, such as steps=3, received {mark.args!r}.")
            _check_names(mark.kwargs)
        except InputError as error:
            pytest.fail(f"the parity marker: {error}", pytrace=False)
        options |= mark.kwargs
    return options


def _check_names(options: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `check_parity` has options of these names."""
    from compare.porting.options import Options

    known = [field.name for field in dataclasses.fields(Options)]
    for name in options:
        if name not in known:
            raise unknown("option", name, known)


def _check(
    config: pytest.Config,
    folder: str,
    models: tuple[Any, Any],
    data: tuple[Any, Any],
    options: dict[str, Any],
) -> ParityReport:
    __tracebackhide__ = True
    from compare.backends.loading import check_installed
    from compare.porting import check, golden
    from compare.porting.options import Options

    _check_names(options)
    recordings = config.getoption("--parity-golden")
    if recordings is None:
        return check.check_parity(*models, *data, **options)
    mode, root = recordings
    if mode == "record":
        return golden.record(Path(root) / folder, models, data, Options(**options))
    alive = config.getoption("--parity-live")
    if alive is None:
        try:
            check_installed(["torch"])
            alive = "torch"
        except MissingDependencyError:
            alive = "keras"
    return golden.replay(Path(root) / folder, alive, models, data, Options(**options))


def _folder(nodeid: str, number: int) -> str:
    """The name of a folder for one check of a test: readable, and never that of another."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", nodeid).strip("-")[:80]
    unique = hashlib.sha256(nodeid.encode()).hexdigest()[:8]
    return f"{readable}-{unique}" + (f"-{number}" if number > 1 else "")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hand a test's results to the process that writes the report."""
    report = yield
    vars(report)[_ATTRIBUTE] = item.stash.get(_RESULTS, [])
    return report


class _Report:
    """Writes the report, where the results of a session come together."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.results: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the results of a test so far: of setup, call and teardown the last has them all."""
        self.results[report.nodeid] = getattr(report, _ATTRIBUTE, [])

    def pytest_sessionfinish(self) -> None:
        """Write it all."""
        from compare.parity.report import page
        from compare.study.records import write_text

        pairs = [json.loads(text) for test in sorted(self.results) for text in self.results[test]]
        if self.target.suffix == ".html":
            text = page(pairs)
        else:
            # Where nothing was checked, nothing is known to agree.
            passed = bool(pairs) and all(pair["passed"] for pair in pairs)
            text = json.dumps({"passed": passed, "pairs": pairs}, indent=1) + "\n"
        write_text(self.target, text)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where it is."""
        count = sum(map(len, self.results.values()))
        terminalreporter.write_line(f"parity of {count} pairs: {self.target}")
