"""Waiting that ends when a test says so, for tests of what happens once time has passed."""

from threading import Semaphore

from compare import console


class StandingWait:
    """A `threading.Event` that one thread waits for, over and over."""

    def __init__(self):
        self._waits, self._go = Semaphore(0), Semaphore(0)
        self._set = False

    def wait(self, seconds):
        self._waits.release()
        self._go.acquire()
        return self._set

    def set(self):
        self._set = True
        self._go.release()

    def passes(self):
        """Let the time pass once; returns when the thread waits again."""
        self._waits.acquire()
        self._go.release()
        self._waits.acquire()
        self._waits.release()


def replaced(monkeypatch):
    """Let `CheckProgress` wait for a test."""
    waits = StandingWait()
    monkeypatch.setattr(console, "Event", lambda: waits)
    return waits
