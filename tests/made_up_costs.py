"""Made-up costs: what `bn-compare time --self` would have measured."""

from compare.cost.plan import Part, Sizes

RATIO = {"ratio": 1.2, "low": 1.1, "high": 1.3, "repetitions": 5}
OVERHEAD = {
    **{"variant": "mlp", "framework": "torch", "bare_seconds": 0.04, "own_seconds": 2e-4},
    **{"own_share": 0.005, "target": 0.02, "judged_seconds": 0.048, **RATIO},
}
STUDY = {
    **{"variants": ["mlp", "cnn"], "seeds": 10, "epochs": 100, "sampled_epochs": 20},
    **{"start_seconds": 5.0, "fast_seconds": 50.0, "idiomatic_seconds": 500.0, "ratio": 10.0},
    "peak_bytes": {"parent": 2**28, "keras": 2**30, "torch": None},
}
SCALING = {
    **{"variant": "mlp", "seeds": 1000, "epochs": 100, "seconds": 60.0, "start_seconds": 5.0},
    **{"by_framework": {"keras": 40.0, "torch": 60.0}, "peak_bytes": {"keras": 2**30}},
}
BARE = {
    **{"variant": "mlp-bn-after", "framework": "keras", "seeds": 100, "fast_seconds": 0.06},
    **{"bare_seconds": 0.05, "target": 1.3, **RATIO},
}
VARIANTS = {
    **{"variant": "mlp", "seeds": 100, "epochs": 100, "few_seeds": 3, "few_epochs": 20},
    **{"fast_seconds": 10.0, "idiomatic_seconds": 400.0, "ratio": 40.0},
}
PARITY = {
    **{"network": "resnet", "layers": 50, "parameters": 25_557_032, "samples": 4, "pixels": 224},
    **{"dtype": "float32", "threads": 2, "passed": True},
    "seconds": {"import": 8.0, "build": 2.0, "port": 10.0, "check": 35.04},
    "peak_bytes": {"import": 2**30, "build": 2**30, "port": 2**31, "check": 3 * 2**30},
    "differences": {"forward, training": 7.2e-6, "loss": None},
    "of_tolerance": {"forward, training": 0.389, "loss": None},
    "target": {"seconds": 90.0, "bytes": 8 * 2**30},
}
ROWS = {
    **{"overhead": OVERHEAD, "study": STUDY, "scaling": SCALING},
    **{"bare": BARE, "variants": VARIANTS, "parity": PARITY},
}
TINY = Sizes(
    overhead_epochs=4,
    study_seeds=2,
    study_epochs=4,
    sampled_epochs=3,
    scaling_seeds=(2,),
    scaling_epochs=(3,),
    bare_epochs=2,
    bare_seeds={"vector": 2},
    many_seeds={"vector": 3},
    few_seeds=2,
    few_epochs={"vector": 3},
    parity_blocks=(1, 1),
    parity_width=4,
    parity_pixels=32,
)


def made_up(name, other_cores=0.0):
    return Part(name, [ROWS[name]], 12.0, other_cores)
