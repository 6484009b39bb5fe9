import pytest
from event_files import curves

import bn_keras
from compare.backends.keras.events import EventLog


def test_values_are_on_disk_at_once_and_alone(tmp_path):
    log = EventLog(bn_keras.build_mlp(), str(tmp_path / "run"))
    log.write(1, {"loss/train": 0.5, "accuracy/test": 0.25})
    assert curves(tmp_path / "run") == {"loss/train": [(1, 0.5)], "accuracy/test": [(1, 0.25)]}
    log.write(2, {"loss/train": 0.125})
    log.close()
    assert curves(tmp_path / "run")["loss/train"] == [(1, 0.5), (2, 0.125)]


def test_keras_alone_would_write_elsewhere_and_rename(tmp_path):
    import keras

    callback = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    callback.set_model(bn_keras.compile_model(bn_keras.build_mlp()))
    callback.on_epoch_end(1, {"loss/train": 0.5})
    callback.on_train_end()
    found = curves(tmp_path / "train")
    assert set(found) == {"epoch_loss/train", "epoch_learning_rate"}
    with pytest.raises(AssertionError):
        curves(tmp_path)
