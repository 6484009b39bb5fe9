"""A `Worker` without a process: the same jobs, done here."""

import threading

from compare.backends.loading import NAMES, load

_ONE_AT_A_TIME = threading.Lock()
"""Warning filters belong to the whole process: two jobs that set them at once undo each other's."""


class Here:
    """Does jobs in this process, in the dtype asked for; float64 is what other tests expect."""

    def __init__(self, name, dtype="float64"):
        self.framework, self.dtype = load(name), dtype

    def call(self, job, on_epoch=lambda epoch: None):
        with _ONE_AT_A_TIME:
            self.framework.configure(dtype=self.dtype, threads=1)
            try:
                return job(self.framework, on_epoch)
            finally:
                # A job may have loaded the other framework, in its own dtype.
                for name in NAMES:
                    load(name).configure(dtype="float64", threads=1)
