"""Mutation run: put faults into the product, one at a time, and see whether the tests catch them.

    python -m pytest -n 2 --cov=compare --cov=bn_keras --cov=bn_torch --cov-context=test
    python tests/mutation draw --seed 1 --count 40 > faults.json
    python tests/mutation run faults.json

`draw` picks places at random: comparisons, arithmetic, numbers, truth values, conditions. `run`
changes one line in a copy of the tree, runs the tests that reach the line (by coverage's contexts;
all tests without them), and stops at the first that fails. A fault that no test catches survives.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("bn_keras", "bn_torch", "compare")
_COMPARISONS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip


def places(file: Path) -> Iterator[dict[str, Any]]:
    """Every fault that could be put into a file: where, and what the text becomes."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    types = {id(inner) for node in _annotations(tree) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in types or not hasattr(node, "lineno"):
            continue
        changed = _changed(node, source)
        if changed is not None and node.lineno == node.end_lineno:
            line = source.splitlines()[node.lineno - 1]
            segment = line.encode()[node.col_offset : node.end_col_offset].decode()
            start = len(line.encode()[: node.col_offset].decode())
            new = line[:start] + changed + line[start + len(segment) :]
            yield {"file": str(file), "line": node.lineno, "old": line.strip(), "new": new.strip()}


def _annotations(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                yield getattr(node, name)
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper()
            for target in node.targets
        ):
            yield node.value


def _changed(node: ast.AST, source: str) -> str | None:
    def text(part: ast.AST) -> str:
        return ast.get_source_segment(source, part) or ""

    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        operator = _COMPARISONS[type(node.ops[0])]
        return f"{text(node.left)} {operator} {text(node.comparators[0])}"
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        if any(isinstance(part, (ast.Constant, ast.JoinedStr)) and isinstance(
            getattr(part, "value", ""), (str, bytes)
        ) for part in (node.left, node.right)):  # fmt: skip
            return None
        return f"({text(node.left)} {_ARITHMETIC[type(node.op)]} {text(node.right)})"
    if isinstance(node, ast.BoolOp) and len(node.values) == 2:
        word = "or" if isinstance(node.op, ast.And) else "and"
        return f"({text(node.values[0])} {word} {text(node.values[1])})"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return f"({text(node.operand)})"
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            return str(not node.value)
        if isinstance(node.value, (int, float)):
            return repr(node.value + 1)
    return None


def draw(count: int, seed: int, without: list[str]) -> list[dict[str, Any]]:
    """Faults at random places of the product, each in a line of its own."""
    files = sorted(file for package in PACKAGES for file in Path(package).rglob("*.py"))
    every = [
        place for file in files if not any(name in str(file) for name in without)
        for place in places(file)
    ]  # fmt: skip
    random.Random(seed).shuffle(every)
    lines: dict[tuple[str, int], dict[str, Any]] = {}
    for place in every:
        lines.setdefault((place["file"], place["line"]), place)
    return list(lines.values())[:count]


def reaching(fault: dict[str, Any], database: Path) -> list[str] | None:
    """The tests that run the line of a fault, closest names first; None where that is unknown."""
    if not database.is_file():
        return None
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "select distinct context.context, line_bits.numbits from line_bits "
            "join file on file.id = line_bits.file_id "
            "join context on context.id = line_bits.context_id where file.path like ?",
            (f"%/{fault['file']}",),
        ).fetchall()
    at = fault.get("covered_line", fault["line"])
    hit = [
        name for name, bits in rows
        if at // 8 < len(bits) and bits[at // 8] & (1 << at % 8)
    ]  # fmt: skip
    if "" in hit:  # runs at import: any test may depend on it
        hit = [name for name, _ in rows if name] + hit
    tests = sorted({name.rpartition("|")[0] for name in hit if name})
    stem = Path(fault["file"]).stem
    tests.sort(key=lambda name: (stem not in name, name))
    return tests


def near(fault: dict[str, Any], tree: Path) -> list[str]:
    """The test files of a fault's room, and those that name its module: in place of coverage."""
    module = Path(fault["file"]).with_suffix("")
    full, package = ".".join(module.parts), f"from {'.'.join(module.parts[:-1])} import"
    room = "_".join(module.parts[1:-1]).replace("parity_explain", "parity_expl")
    chosen = []
    for file in sorted((tree / "tests").rglob("test_*.py")):
        lines = file.read_text(encoding="utf-8").splitlines()
        named = any(full in line or (package in line and module.name in line) for line in lines)
        if "benchmarks" not in file.parts and (
            named or (room and file.stem.startswith(f"test_{room}"))
        ):
            chosen.append(str(file.relative_to(tree)))
    return sorted(chosen, key=lambda name: module.name not in name)


def put(fault: dict[str, Any], tree: Path) -> None:
    """Write a fault into a tree.

    Raises:
        ValueError: The line is not there.
    """
    file = tree / fault["file"]
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    at = [n for n, line in enumerate(lines) if line.strip() == fault["old"]]
    if not at:
        raise ValueError(f"{fault['file']}: no line is {fault['old']!r}")
    number = min(at, key=lambda n: abs(n + 1 - fault["line"]))
    lines[number] = lines[number].replace(fault["old"], fault["new"])
    file.write_text("".join(lines), encoding="utf-8")


def run(fault: dict[str, Any], tree: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Whether the tests catch a fault, and which one did."""
    original = (tree / fault["file"]).read_text(encoding="utf-8")
    start = time.monotonic()
    try:
        put(fault, tree)
        # Coverage does not see what runs in processes of its own: then every test may reach it.
        tests = reaching(fault, Path(options.coverage)) or None
        if options.near:
            tests = near(fault, tree) or None
        caught = first_failure(tree, tests, options)
    finally:
        (tree / fault["file"]).write_text(original, encoding="utf-8")
    reached = None if tests is None else len(tests)
    seconds = round(time.monotonic() - start)
    return {**fault, "reached_by": reached, "caught_by": caught, "seconds": seconds}


def first_failure(tree: Path, tests: list[str] | None, options: argparse.Namespace) -> str | None:
    """The first test that fails; None where all pass."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "tests"
        chosen.write_text("\n".join(tests or []), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:cov"),
            *("--timeout", "200", "-n", str(options.workers)),
            *([f"@{chosen}"] if tests else []),
        ]
        done = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
        )
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0][:150] if failed else f"pytest ended with {done.returncode}"


def main() -> None:
    """Draw faults, or run them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("--count", type=int, default=40)
    drawing.add_argument("--seed", type=int, default=1)
    drawing.add_argument("--without", default="", help="leave out files whose path contains A,B")
    running = commands.add_parser("run")
    running.add_argument("faults", type=Path)
    running.add_argument("--coverage", default=".coverage")
    running.add_argument("--workers", type=int, default=2)
    running.add_argument("--near", action="store_true", help="only test files that name the module")
    running.add_argument("--out", type=Path, default=None, help="also write the results here")
    options = parser.parse_args()
    if options.command == "draw":
        without = [name for name in options.without.split(",") if name]
        print(json.dumps(draw(options.count, options.seed, without), indent=1))
        return
    faults = json.loads(options.faults.read_text(encoding="utf-8"))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(".", tree, ignore=shutil.ignore_patterns(".venv", ".git", "runs"))
        for number, fault in enumerate(faults, start=1):
            result = run(fault, tree, options)
            results.append(result)
            how = result["caught_by"] or "SURVIVED"
            print(f"[{number}/{len(faults)}] {fault['file']}:{fault['line']} {fault['new']}")
            print(f"    {how} ({result['seconds']} s)", flush=True)
            if options.out:
                options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    caught = sum(result["caught_by"] is not None for result in results)
    print(f"{caught} of {len(results)} faults caught")


if __name__ == "__main__":
    main()
