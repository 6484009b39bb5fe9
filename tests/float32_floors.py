"""Float32's noise floor, rung by rung: how far Keras is from itself with XLA and without.

    python tests/float32_floors.py > compare/parity/floors.json    # ten variants, 20 seeds

The parity ladder's tolerances in float32 are a multiple of these floors.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from compare import environment
from compare.backends.loading import load
from compare.parity import ladder as rungs
from compare.parity.ladder import Ladder
from compare.parity.tolerances import FLOAT64
from compare.parity.twins import lived_in_pair
from compare.spec import VARIANTS, Run, Settings
from compare.trace import Trace, TraceWriter

RUNGS = (4, 5, 6, 7, 8, 9)


def measure(keras, variants, seeds):
    """The largest difference on every rung, over variants and seeds."""
    settings = replace(Settings(epochs=1), dtype="float32")
    floors = dict.fromkeys(RUNGS, 0.0)
    for variant in variants:
        for seed in range(seeds):
            ladder = Ladder(FLOAT64)
            with tempfile.TemporaryDirectory(prefix="bn-compare-") as scratch:
                traces = [
                    trace(
                        keras, Run(variant, "keras", seed), settings, Path(scratch) / str(jit), jit
                    )
                    for jit in (False, True)
                ]
                rungs.climb(ladder, *traces)
            for result in ladder.results():
                if result.rung in RUNGS and result.required is not None:
                    floors[result.rung] = max(floors[result.rung], result.required)
    return floors


def trace(keras, run, settings, folder, jit_compile):
    """Keras' first steps, with or without XLA."""
    handle, batches = lived_in_pair(run, settings, keras)
    writer = TraceWriter(folder)
    writer.close(keras.trace(handle, batches, writer, jit_compile=jit_compile))
    return Trace.open(folder)


def main():
    keras = load("keras")
    keras.configure(dtype="float32", threads=1)
    floors = measure(keras, tuple(VARIANTS), seeds=20)
    measured = {
        "how": "Keras with XLA against Keras without, largest difference over variants and seeds",
        "variants": list(VARIANTS),
        "seeds": 20,
        "versions": environment.versions(),
        "cpu": environment.hardware()["cpu"],
    }
    content = {"float32": {str(k): v for k, v in floors.items()}, "measured": measured}
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
