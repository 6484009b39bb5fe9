"""Print the confusion table; exit 1 if a bound is missed. See `verdicts`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["KERAS_HOME"] = tempfile.mkdtemp()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    """Judge the ports that are asked for; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.verdicts", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help="labels that contain NAME")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--right", action="store_true", help="right ports alone")
    side.add_argument("--wrong", action="store_true", help="wrong ports alone")
    parser.add_argument("--sample", type=int, metavar="N", help="N of them, the same each time")
    parser.add_argument("--list", action="store_true", help="only say which they are")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every verdict there")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()

    from verdicts.ports import chosen, labelled
    from verdicts.run import all_judged, configure, in_processes
    from verdicts.table import lines, misses, table

    configure()  # Before a port makes a first tensor.
    ports = chosen(
        only=options.only, right=options.right, wrong=options.wrong, sample=options.sample
    )
    if options.list:
        print("\n".join(port.label for port in ports))
        return 0
    if not ports:
        parser.error("no port is called so; --list says what they are called")
    start = time.monotonic()
    verdicts = []
    judging = (
        all_judged(ports) if options.jobs == 1 else in_processes(ports, options.jobs, labelled)
    )
    for verdict in judging:
        verdicts.append(verdict)
        if sys.stderr.isatty():
            print(f"\r{len(verdicts)} of {len(ports)}", end="", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1))
    table(verdicts).print()
    print("\n".join(misses(verdicts)))
    print(f"{len(verdicts)} ports in {time.monotonic() - start:.0f} s")
    return int(not all(line.held for line in lines(verdicts)))


if __name__ == "__main__":
    sys.exit(main())
