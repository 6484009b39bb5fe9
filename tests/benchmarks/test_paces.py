"""The fast pace against `model.fit` and `Trainer.fit`, and against loops written by hand.

make benchmark    (or: pytest tests/benchmarks --benchmark-enable)
"""

import multiprocessing
from dataclasses import replace
from importlib import import_module

import pytest

from compare.resources import peak_bytes
from compare.spec import VARIANTS, Run, Settings
from compare.study.run import run_study
from compare.study.runs import begin, epoch_values, views_of
from compare.study.train import execute, execute_many

SEEDS = {"vector": 100, "sequence": 50, "image": 10}
"""View of a variant → seeds; a CNN gains nothing from more."""
FEW_EPOCHS = 20
BY_HAND = ("mlp-bn-after", "cnn-bn", "lstm-bn")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fast_pace_beside_fit(variant, framework_name, framework, in_turns):
    """Ratio: seconds of as many fits, extrapolated from one of 20 epochs, over the fast pace's."""
    settings = Settings(seeds=SEEDS[VARIANTS[variant].view], pace="fast")
    few = Settings(epochs=FEW_EPOCHS)
    in_turns(
        lambda: execute_many(variant, framework_name, settings, framework, lambda event: None),
        lambda: execute(Run(variant, framework_name, 0), few, framework),
        rounds=2,
        scale=settings.seeds * settings.epochs / FEW_EPOCHS,
        seeds=settings.seeds,
    )


@pytest.mark.parametrize("variant", BY_HAND)
def test_the_fast_pace_beside_a_loop_by_hand(variant, framework_name, framework, in_turns):
    """Ratio: seconds of the loop by hand over the fast pace's; compiling included in both."""
    settings = Settings(seeds=SEEDS[VARIANTS[variant].view], epochs=50, pace="fast")
    in_turns(
        lambda: execute_many(variant, framework_name, settings, framework, lambda event: None),
        lambda: train_by_hand(variant, framework_name, settings, framework),
        rounds=3,
        seeds=settings.seeds,
    )


def train_by_hand(variant, framework_name, settings, framework):
    """All seeds of a study in a loop by hand, with the metrics that a study records."""
    views = views_of(variant, settings)
    runs = [Run(variant, framework_name, seed) for seed in range(settings.seeds)]
    model, _ = begin(runs[0], settings, framework)
    loop = import_module(f"{framework_name}_by_hand").LoopByHand(
        model,
        (views.train, views.y_train),
        batch_size=settings.batch_size,
        views=views.evaluated(variant),
    )

    def starts():
        for run in runs:
            _, start = begin(run, settings, framework, reuse=model)
            yield model, start.orders

    def on_epoch(losses, accuracies, seen):
        epoch_values(seen, views, (losses, accuracies), batch_size=settings.batch_size)

    for _ in loop.fit(starts(), on_epoch=on_epoch):
        pass


@pytest.mark.parametrize("seeds", [100, 1000])
def test_seconds_grow_with_the_seeds(seeds, framework_name, framework, benchmark):
    settings = Settings(seeds=seeds, pace="fast")
    benchmark.pedantic(
        execute_many,
        args=("mlp-bn-after", framework_name, settings, framework, lambda event: None),
        rounds=1,
    )
    benchmark.extra_info.update(peak_bytes=peak_bytes())


def test_the_default_study(benchmark, tmp_path):
    """Ten networks, ten seeds, both frameworks in processes of their own; imports included."""
    settings = Settings(seeds=10, pace="fast")
    peaks = {}

    def progress(run, epochs):
        if epochs == settings.epochs:
            peaks.update((p.name, peak_bytes(p.pid)) for p in multiprocessing.active_children())

    benchmark.pedantic(
        run_study, args=(settings, tmp_path / "run"), kwargs={"progress": progress}, rounds=1
    )
    benchmark.extra_info.update(peak_bytes={**peaks, "parent": peak_bytes()})


def test_what_the_harness_adds_to_fit(framework_name, framework, in_turns):
    """Ratio: seconds of a fit that nobody watches over those on the clock of a watched run."""
    run, settings = Run("mlp-bn-after", framework_name, 0), Settings(epochs=60)
    seconds = []

    def unwatched():
        views = views_of(run.variant, settings)
        model, start = begin(run, settings, framework)
        framework.train(
            model,
            (views.train, views.y_train),
            orders=start.orders,
            batch_size=settings.batch_size,
            on_epoch=lambda loss, accuracy: None,
        )

    def watched():
        seconds.append(sum(execute(run, settings, framework).record["epoch_seconds"]))

    execute(run, replace(settings, epochs=4), framework)
    in_turns(watched, unwatched, rounds=5, on_the_clock=seconds)
