import subprocess
import sys

import pytest
from event_files import curves

from compare.backends.torch.events import EventLog

WRITE = """
import sys
from compare.backends.torch import events
{change}
log = events.EventLog(sys.argv[1])
log.write(1, {{"loss/train": 0.5}})
log.close()
print("tensorflow" in sys.modules)
"""


def test_values_are_on_disk_at_once_and_alone(tmp_path):
    log = EventLog(str(tmp_path / "run"))
    log.write(1, {"loss/train": 0.5, "accuracy/test": 0.25})
    assert curves(tmp_path / "run") == {"loss/train": [(1, 0.5)], "accuracy/test": [(1, 0.25)]}
    log.write(2, {"loss/train": 0.125})
    log.close()
    assert curves(tmp_path / "run")["loss/train"] == [(1, 0.5), (2, 0.125)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "imported"), [("", "False"), ("events._leave_tensorflow_out = lambda: None", "True")]
)
def test_tensorflow_stays_out_of_the_process(tmp_path, change, imported):
    """Left to itself, `tensorboard` imports it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WRITE.format(change=change), tmp_path / "run"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [imported], done.stderr
    assert curves(tmp_path / "run") == {"loss/train": [(1, 0.5)]}
