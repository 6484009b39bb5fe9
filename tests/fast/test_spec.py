import pytest
from hypothesis import given
from hypothesis import strategies as st

from compare.conventions import ALIGNMENTS, CONVENTIONS
from compare.errors import InputError
from compare.spec import VARIANTS, Settings

SWITCHES = [name for name, convention in CONVENTIONS.items() if convention.switch]


def test_the_ten_variants_of_the_tutorial():
    assert list(VARIANTS) == [
        "mlp",
        "mlp-bn-after",
        "mlp-bn-before",
        "mlp-bn-no-affine",
        "mlp-bn-no-momentum",
        "mlp-bn-input",
        "cnn",
        "cnn-bn",
        "lstm",
        "lstm-bn",
    ]
    for variant in VARIANTS.values():
        assert (variant.baseline is None) is not variant.has_batch_norm
        assert variant.baseline is None or VARIANTS[variant.baseline].view == variant.view


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ("mlp-bn-aftr",)}, "unknown variant 'mlp-bn-aftr'.*'mlp-bn-after'"),
        ({"variants": ()}, "no variant named"),
        ({"variants": ("mlp", "mlp")}, "twice"),
        ({"accuracy_margin": 0.0}, r"--accuracy-margin: expected in \(0, 1\), received 0.0"),
        ({"loss_margin": float("nan")}, "--loss-margin: expected a positive number"),
        ({"epochs_ratio_margin": (0.9,)}, "--epochs-ratio-margin: expected two ratios"),
        ({"epochs_ratio_margin": (1.1, 1.2)}, "a first ratio in"),
        ({"epochs_ratio_margin": (0.9, 1.0)}, "a second ratio above 1"),
        ({"frameworks": ("kears",)}, "unknown framework 'kears'.*'keras'"),
        ({"frameworks": ()}, "no framework named"),
        ({"alignment": "exakt"}, "unknown alignment 'exakt'.*'exact'"),
        ({"dtype": "float46"}, "unknown dtype 'float46'.*'float64'"),
        ({"pace": "idiomatik"}, "unknown pace 'idiomatik'.*'idiomatic'"),
        ({"undo": ("bn-momentun",)}, "unknown convention 'bn-momentun'.*'bn-momentum'"),
        ({"undo": ("adam-epsilon",)}, "'adam-epsilon' cannot be undone"),
        ({"seeds": 0}, "--seeds: expected a whole number from 1 to 1,000,000, received 0"),
        ({"seeds": 10**20}, "--seeds: expected a whole number from 1 to 1,000,000, received 1000"),
        ({"n_samples": 10**12}, "--n-samples: expected a whole number from 4 to 1,000,000"),
        ({"data_seed": 2**32}, "--data-seed: expected a whole number from 0 to 2³² − 1"),
        ({"epochs": -1}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"threads": 0}, "--threads"),
        ({"seeds": True}, "--seeds"),
        ({"seeds": 1.5}, "--seeds"),
        ({"learning_rate": 0.0}, "--learning-rate: expected a positive number, received 0.0"),
        ({"learning_rate": float("nan")}, "--learning-rate.*nan"),
        ({"learning_rate": float("inf")}, "--learning-rate.*inf"),
        ({"learning_rate": "fast"}, "--learning-rate.*'fast'"),
        ({"sgd_momentum": 1.0}, "--sgd-momentum"),
        ({"target": 1.1}, "--target"),
        ({"noise": -0.1}, "--noise"),
        ({"n_samples": 3}, "--n-samples"),
        ({"data_seed": -1}, "--data-seed"),
        ({"batch_size": 499}, "batch of one sample.*Torch"),
        ({"batch_size": 1}, "batch of one sample"),
        ({"n_samples": 66}, "batch of one sample"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        Settings(**changes)
    assert "\n" not in str(caught.value)


@given(
    seeds=st.integers(1, 1000),
    rate=st.floats(1e-9, 1e3),
    variants=st.lists(st.sampled_from(list(VARIANTS)), min_size=1, unique=True),
    undo=st.lists(st.sampled_from(SWITCHES), unique=True),
)
def test_settings_survive_json(seeds, rate, variants, undo):
    settings = Settings(seeds=seeds, learning_rate=rate, variants=tuple(variants), undo=tuple(undo))
    assert Settings.from_dict(settings.to_dict()) == settings


def test_unknown_setting_in_a_file_is_named():
    with pytest.raises(InputError, match=r"unknown setting 'epoch'.*'epochs'"):
        Settings.from_dict({"epoch": 3})


def test_alignments_are_sets_of_conventions():
    assert ALIGNMENTS["exact"] == ()
    assert ALIGNMENTS["stock"] == ("bn-biased-variance",)
    assert set(ALIGNMENTS["naive"]) <= set(CONVENTIONS)
    undone = Settings(alignment="stock", undo=("bn-biased-variance", "bn-epsilon")).undone
    assert undone == ("bn-biased-variance", "bn-epsilon")
