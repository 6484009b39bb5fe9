"""A `Worker` without a process: the same jobs, done here."""

from compare import frameworks


class Here:
    """Does jobs in this process, in the dtype asked for; float64 is what other tests expect."""

    def __init__(self, name, dtype="float64"):
        self.framework, self.dtype = frameworks.load(name), dtype

    def call(self, job, on_epoch=lambda epoch: None):
        self.framework.configure(dtype=self.dtype, threads=1)
        try:
            return job(self.framework, on_epoch)
        finally:
            self.framework.configure(dtype="float64", threads=1)
