"""Made-up timings: what `bn-compare time` would have measured."""

import json

from compare.spec import Settings
from compare.timing import report
from compare.timing.records import FILE, Measurements, Plan, Point, Process, Sample

PLAN = Plan(settings=Settings(variants=("mlp",), epochs=4), repetitions=3)
CONFIGURATIONS = {
    "keras": (("idiomatic", "idiomatic"), ("floor (XLA)", "floor"), ("floor (graph)", "floor")),
    "torch": (("idiomatic", "idiomatic"), ("floor", "floor")),
}


def sample(framework, configuration, kind, repetition, epoch, first=1.0, **others):
    """A fit whose first epoch takes `first` seconds, and every later one `epoch`."""
    return Sample(
        variant="mlp",
        framework=framework,
        configuration=configuration,
        kind=kind,
        repetition=repetition,
        first_step=None if kind == "floor" else first / 2,
        epoch_ends=tuple(first + n * epoch for n in range(4)),
        **{"other_cores": 0.0, "note": "", "error": None, **others},
    )


def measurements(keras=(0.4, 0.5, 0.6), torch=(0.2, 0.25, 0.3)):
    """Three repetitions after a warm-up that is slow; floors take a tenth, XLA's a fifth."""
    timed = Measurements(reports={n: {"accelerator": "cpu"} for n in ("keras", "torch")})
    for repetition in range(1 + len(keras)):
        for framework, configurations in CONFIGURATIONS.items():
            side = keras if framework == "keras" else torch
            fit = side[repetition - 1] if repetition else 9.0
            for configuration, kind in configurations:
                share = {"floor (XLA)": 0.2}.get(configuration, 0.1) if kind == "floor" else 1.0
                timed.samples.append(
                    sample(framework, configuration, kind, repetition, share * fit, note="a=b")
                )
    for framework, epochs in (("keras", (20, 30, None)), ("torch", (None, None, 5))):
        timed.processes.append(
            Process(
                variant="mlp",
                framework=framework,
                import_seconds=2.0,
                peak_rss_bytes=2**29,
                epochs_to_target=epochs,
            )
        )
        for axis in ("batch_size", "units"):
            for size in (8, 64, 512):
                timed.points.append(
                    Point(framework, "idiomatic", "idiomatic", axis, size, 1e-3 * max(1, size / 64))
                )
    return timed


def saved(timed):
    """What `bn-compare time` would leave."""
    content = {**report._header(PLAN), **report.to_json(PLAN, timed)}
    return {**content, "raw": timed.raw()}


def write(folder, content):
    """Write it, and return the file."""
    (folder / FILE).write_text(json.dumps(content, allow_nan=False))
    return folder / FILE
