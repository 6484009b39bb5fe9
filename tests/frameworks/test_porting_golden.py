"""Recorded sides: they stand in for a framework that is missing, and are refused when touched."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_cli import BLOCK
from tiny_pair import X, Y, almost_right_port, keras_model, right_port, stock_port

import compare
from compare.porting import golden
from compare.porting.options import Options

BOTH = (keras_model, right_port)
OPTIONS = Options(weights_from="keras")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "pair"
    assert golden.record(folder, BOTH, (X, Y), OPTIONS).passed
    return folder


@pytest.fixture
def own(recorded, tmp_path):
    """A recording to spoil."""
    return Path(shutil.copytree(recorded, tmp_path / "pair"))


def replay(folder, alive="torch", models=BOTH, data=(X, Y), options=OPTIONS):
    return golden.replay(folder, alive, models, data, options)


@pytest.mark.parametrize("alive", ["keras", "torch"])
def test_a_recording_stands_in_for_either_side(recorded, alive):
    models = tuple(
        model if name == alive else "not looked at"
        for name, model in zip(("keras", "torch"), BOTH, strict=True)
    )
    report = replay(recorded, alive, models)
    assert report.passed, str(report)
    assert [rung.rung for rung in report.rungs if rung.max_abs is not None] == list(range(1, 10))


def test_a_wrong_port_fails_on_replay_where_it_fails_alive(recorded):
    alive = compare.check_parity(keras_model, stock_port, X, Y, weights_from="keras")
    first = replay(recorded, models=(None, stock_port)).first_divergence
    assert (first.rung, first.layer, first.explained_by) == (4, "norm", ("bn-epsilon",))
    assert (first.rung, first.layer) == (
        alive.first_divergence.rung,
        alive.first_divergence.layer,
    )


def test_a_difference_accepted_when_recorded_is_predicted_on_replay(tmp_path):
    models = keras_model, almost_right_port
    refused = golden.record(tmp_path / "refused", models, (X, Y), OPTIONS)
    assert refused.first_divergence.explained_by == ("bn-biased-variance",)
    allowed = Options(weights_from="keras", allow=["bn-biased-variance"])
    assert golden.record(tmp_path / "allowed", models, (X, Y), allowed).passed
    report = replay(tmp_path / "allowed", models=models, options=allowed)
    assert report.passed, str(report)
    with pytest.raises(compare.GoldenError, match="allow differs"):
        replay(tmp_path / "refused", models=models, options=allowed)


def seal(folder, content, packed=None):
    """Write a recording as if it had been recorded so."""
    if packed is not None:
        (folder / "keras.npz").write_bytes(packed)
        content["sha256"] = hashlib.sha256(packed).hexdigest()
    content = {key: value for key, value in content.items() if key != "seal"}
    sealed = {**content, "seal": golden._seal(content)}
    (folder / "keras.json").write_text(json.dumps(sealed))


def flipped(folder):
    packed = bytearray((folder / "keras.npz").read_bytes())
    packed[len(packed) // 2] ^= 1
    (folder / "keras.npz").write_bytes(packed)


def cut(folder):
    packed = (folder / "keras.npz").read_bytes()
    (folder / "keras.npz").write_bytes(packed[: len(packed) // 2])


def edited(folder):
    text = (folder / "keras.json").read_text()
    (folder / "keras.json").write_text(text.replace('"dtype": "float64"', '"dtype": "float32"'))


def halved(folder):
    text = (folder / "keras.json").read_text()
    (folder / "keras.json").write_text(text[: len(text) // 2])


def pickled(folder):
    buffer = io.BytesIO()
    np.savez(buffer, **{"0": np.array([{"a": "pickle"}], dtype=object)})
    seal(folder, json.loads((folder / "keras.json").read_text()), buffer.getvalue())


def emptied(folder):
    buffer = io.BytesIO()
    np.savez(buffer, other=np.zeros(1))
    seal(folder, json.loads((folder / "keras.json").read_text()), buffer.getvalue())


def of_the_future(folder):
    seal(folder, {**json.loads((folder / "keras.json").read_text()), "format": 99})


def of_another_type(folder):
    content = json.loads((folder / "keras.json").read_text())
    content["layers"][1]["kind"] = 3
    seal(folder, content)


def of_the_other_side(folder):
    for suffix in (".json", ".npz"):
        shutil.copy(folder / f"torch{suffix}", folder / f"keras{suffix}")


def nested(folder):
    (folder / "keras.json").write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flipped, r"keras\.npz: was changed or cut .*: record it again"),
        (cut, r"keras\.npz: was changed or cut .*: record it again"),
        (edited, r"keras\.json: was changed after it was recorded: record it again"),
        (halved, r"keras\.json: cannot be read as JSON"),
        (pickled, r"keras\.npz: cannot be read"),
        (emptied, r"keras\.npz: lacks arrays that keras\.json names"),
        (nested, r"keras\.json: cannot be read as JSON"),
        (of_the_future, r"expected format 4, received 99"),
        (
            of_another_type,
            r"keras\.json: \$\.layers\[1\]\.kind: expected text, received 3\. .* record",
        ),
        (
            of_the_other_side,
            r"expected the keras side, but the file is .* torch side: put the right",
        ),
        (lambda folder: (folder / "keras.npz").unlink(), r"keras\.npz is missing"),
        (shutil.rmtree, r"no recording of the keras side there \(keras\.json is missing\)"),
    ],
)
def test_a_spoilt_recording_is_refused(own, spoil, message):
    spoil(own)
    with pytest.raises(compare.GoldenError, match=message):
        replay(own)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": (X + 1e-9, Y)}, "x differs from when it was recorded"),
        ({"data": (X, 1.0 - Y)}, "y differs from when it was recorded"),
        ({"data": (X, None)}, "y differs from when it was recorded"),
        (
            {"options": Options(weights_from="keras", steps=3)},
            "steps differs from when it was recorded .2 was recorded, 3 is asked",
        ),
        (
            {"options": Options(weights_from="keras", dtype="float32")},
            "dtype differs|x differs",
        ),
    ],
)
def test_another_question_is_refused(recorded, changes, message):
    with pytest.raises(compare.GoldenError, match=message):
        replay(recorded, **changes)


def test_an_interrupted_recording_leaves_the_one_before(own, monkeypatch):
    before = {file.name: file.read_bytes() for file in own.iterdir()}
    save = golden.save

    def interrupted(folder, name, *args, **options):
        if name == "torch":
            raise KeyboardInterrupt
        save(folder, name, *args, **options)

    monkeypatch.setattr(golden, "save", interrupted)
    for folder in (own, own.parent / "new"):
        with pytest.raises(KeyboardInterrupt):
            golden.record(folder, BOTH, (X, None), OPTIONS)
    assert {file.name: file.read_bytes() for file in own.iterdir()} == before
    assert list(own.parent.iterdir()) == [own]


TESTS = """
import pytest
from tiny_pair import X, Y, keras_model, right_port, stock_port

@pytest.mark.parametrize("port", [right_port, stock_port])
def test_port(parity, port):
    parity(keras_model, port, X, Y, weights_from="keras")
"""


def run_pytest(folder, mode, absent=("nothing",)):
    (folder / "conftest.py").write_text(BLOCK.format(blocked=set(absent)))
    (folder / "test_port.py").write_text(TESTS)
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(
        [*command, "--parity-golden", mode, "golden"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize("absent", [("tensorflow", "keras"), ("torch", "lightning")])
def test_one_framework_is_enough_once_both_are_recorded(tmp_path, recorded_tests, absent):
    shutil.copytree(recorded_tests, tmp_path, dirs_exist_ok=True)
    told = run_pytest(tmp_path, "replay", absent)
    assert "1 failed, 1 passed" in told, told
    assert "test_port[stock_port] - compare.ParityError" in told
    assert "Keras and Torch differ first on rung 4" in told
    assert "Explained by bn-epsilon" in told


@pytest.fixture(scope="module")
def recorded_tests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    assert "1 failed, 1 passed" in run_pytest(folder, "record")
    return folder


def with_rate(rate):
    def port():
        import torch

        module = right_port()
        module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=rate)
        return module

    return port


def test_keras_starts_again_where_the_recorded_steps_have_started(tmp_path):
    """A step of Torch's that went too far starts no later one, nor does another Keras' step."""
    models = keras_model, with_rate(0.2)
    alive = golden.record(tmp_path / "far", models, (X, Y), Options(weights_from="keras", steps=3))
    recorded = golden.read(tmp_path / "far" / "torch.json")[0]
    assert "step/2/statistics/norm/moving_mean" in recorded.started
    assert not golden.read(tmp_path / "far" / "keras.json")[0].started

    def faster():
        model = keras_model()
        model.optimizer.learning_rate = 0.4
        return model

    for build, doubled in ((keras_model, 1.0), (faster, -2.0)):
        options = Options(weights_from="torch", steps=3)
        report = replay(tmp_path / "far", "keras", (build, None), options=options)
        for one, other in zip(gaps(alive), gaps(report), strict=True):
            assert np.isclose(doubled * one, other, rtol=1e-6)


def gaps(report):
    """By how much more Keras' bias moved in every step."""
    steps = [check for check in report.checks if check.path.endswith("weights/head/bias")]
    assert [check.step for check in steps] == [1, 2, 3]
    return [check.gap.keras - check.gap.torch for check in steps]
