"""A clock that stands still, for tests of what is timed."""

import compare.backends.keras.timing


class Clock:
    """Stands still, but for what steps are made to cost."""

    now = 0.0

    def __call__(self):
        return self.now

    def costly(self, function, seconds):
        def slowed(*args, **kwargs):
            self.now += seconds
            return function(*args, **kwargs)

        return slowed


def slow_keras(monkeypatch, clock, seconds):
    make = compare.backends.keras.timing.keras.Model.make_train_function

    def slowed(model, *args, **kwargs):
        made = make(model, *args, **kwargs)
        model.train_function = clock.costly(model.train_function, seconds)
        return made

    monkeypatch.setattr(compare.backends.keras.timing.keras.Model, "make_train_function", slowed)
