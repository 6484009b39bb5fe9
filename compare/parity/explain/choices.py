"""The choices by which two rules of optimizers may differ, each with the name that it has.

A choice is a few settings of a rule that belong together. Where two rules differ in it, the
difference is a convention of the catalogue, or a plain setting that a port has wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from compare.backends.optimizer_rule import Rule

Rules = Mapping[str, Rule]
"""Canonical name of a weight → the rule that moves it."""

IRREMEDIABLE: Mapping[str, str] = {
    "epsilon-place": "Torch has no argument for where epsilon is added",
    "rounded-powers": "Keras rounds betas within the bias correction alone, Torch's are one number",
    "rounded-momentum": "Keras rounds a Python float momentum to float32, in float64 too",
    "rounded-decay": "Keras rounds a Python float weight_decay to float32, in float64 too",
    "rounded-accumulator": "Keras rounds the initial accumulator to float32, in float64 too",
    "rounded-nadam": "Keras rounds Nadam's constants to float32, 0.96 among them",
    "corrections": "Torch computes the numbers of the bias correction in double precision",
    "rounded-schedule": "Keras computes a schedule in float32, in float64 training too",
    "clip-epsilon": "clip_grad_norm_ adds 1e-6 to the norm",
    "velocity": "Keras keeps the learning rate within the velocity, Torch's SGD outside of it",
    "sparse": "Torch adds up the gradients of a token before its optimizers see them",
}
"""Choice → why no setting of Torch's own optimizers makes both sides alike there."""

BY_HAND = "by hand"
"""The schedule of a rate that changes, and that no schedule changes."""

_FLOAT32 = float(np.finfo(np.float32).eps)

_SCHEDULE_ROUNDING = 16 * _FLOAT32
"""Relative rounding of a rate that a schedule computes in a few operations in float32."""


@dataclass(frozen=True)
class Difference:
    """One difference between the rules of both sides.

    Attributes:
        choice: The choice that differs.
        convention: Its name in the catalogue; empty where it is a plain setting.
        setting: What differs in words, with the values of both sides.
        rules: Keras' rules → the same with Torch's choice.
        share: Of what the step differs by, the part that this difference accounts for, 0 … 1.
    """

    choice: str
    convention: str
    setting: str
    rules: Callable[[Rules], Rules]
    share: float = 0.0

    @property
    def name(self) -> str:
        """The convention, else the setting."""
        return self.convention or self.setting

    @property
    def irremediable(self) -> str:
        """Why no setting of Torch's own optimizers remedies it; empty where there is one."""
        return IRREMEDIABLE.get(self.choice, "")


def differences(keras: Rules, torch: Rules) -> list[list[Difference]]:
    """Every choice in which the rules of both sides differ.

    Args:
        keras: Of every weight.
        torch: Of the same weights, as far as they are known.

    Returns:
        A list per choice: one difference where both sides' settings were read. What Torch's side
        does outside of its optimizer cannot be read: then every way to do what Keras does
        otherwise.
    """
    torch = {name: _comparable(rule, torch.get(name)) for name, rule in keras.items()}
    untrained = [n for n in keras if (keras[n].kind == "none") != (torch[n].kind == "none")]
    candidates: list[list[Difference]] = []
    if untrained:
        candidates.append([_untrained(keras, torch, untrained)])
    # Of what one side alone trains nothing else is to be said.
    trained = {name: rule for name, rule in keras.items() if name not in untrained}
    if any(rule.kind != torch[name].kind for name, rule in trained.items()):
        candidates.append([_difference(_KIND, trained, torch)])
    else:
        candidates += [
            [_difference(c, trained, torch)] for c in _OF_A_KIND if c.where(trained, torch)
        ]
    candidates += [[_difference(c, trained, torch)] for c in _SHARED if c.where(trained, torch)]
    return candidates + list(_outside(trained))


def _comparable(keras: Rule, torch: Rule | None) -> Rule:
    """Torch's rule, with Keras' settings where its own are not known."""
    if torch is None:
        # What an optimizer of an unknown class has in common with all of Torch's: no rounding.
        return replace(keras, rounded=(), corrections="double", sparse=False)
    return torch if torch.update else replace(torch, update=keras.update)


@dataclass(frozen=True)
class _Choice:
    """Settings that belong together.

    Attributes:
        name: Of the choice.
        settings: Names of them, as a rule has them.
        words: What a message calls it.
        named: From both rules to the convention; empty where it has no name.
        along: Settings that follow from those.
        rounded: Constants beside the settings whose rounding follows from them.
    """

    name: str
    settings: tuple[str, ...]
    words: str
    named: Callable[[Rule, Rule], str] = lambda keras, torch: ""
    along: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()

    def differs(self, keras: Rule, torch: Rule) -> bool:
        """Whether the rules differ in a setting, by more than its rounding."""
        return any(
            getattr(keras, setting) != getattr(torch, setting)
            and not _only_rounded(setting, keras, torch)
            for setting in self.settings
        )

    def applied(self, keras: Rule, torch: Rule) -> Rule:
        """Keras' rule with Torch's choice."""
        return _taken(keras, torch, (*self.settings, *self.along), self.rounded)

    def where(self, keras: Rules, torch: Rules) -> list[str]:
        """The weights that are moved otherwise."""
        return [name for name, rule in keras.items() if self.differs(rule, torch[name])]


@dataclass(frozen=True)
class _Rounding(_Choice):
    """Settings that are the same but for Keras' rounding to float32."""

    def differs(self, keras: Rule, torch: Rule) -> bool:
        return any(_only_rounded(s, keras, torch) for s in self.settings) or any(
            (constant in keras.rounded) != (constant in torch.rounded) for constant in self.rounded
        )

    def applied(self, keras: Rule, torch: Rule) -> Rule:
        settings = [s for s in self.settings if _only_rounded(s, keras, torch)]
        return _taken(keras, torch, (*settings, *self.along), self.rounded)


def _only_rounded(setting: str, keras: Rule, torch: Rule) -> bool:
    """Whether Keras' value is Torch's, rounded to float32 by Keras."""
    if setting not in keras.rounded or setting in torch.rounded:
        return False
    return bool(getattr(keras, setting) == float(np.float32(getattr(torch, setting))))


def _taken(keras: Rule, torch: Rule, settings: Sequence[str], rounded: Sequence[str]) -> Rule:
    """Keras' rule with some settings of Torch's, and which of its constants are rounded."""
    values = {name: getattr(torch, name) for name in settings}
    names = {*settings, *rounded}
    left = [c for c in keras.rounded if c not in names]
    return replace(keras, **values, rounded=(*left, *(c for c in torch.rounded if c in names)))


def _difference(choice: _Choice, keras: Rules, torch: Rules) -> Difference:
    where = choice.where(keras, torch)
    pair = keras[where[0]], torch[where[0]]
    values = _said(choice, *pair)
    partly = len(where) < len(_moved(keras))
    said = f"{choice.words}: {values[0]} in Keras, {values[1]} in Torch"
    name, convention = choice.name, choice.named(*pair)
    if convention == "schedule-float32":
        name = "rounded-schedule"
    elif name == "decay" and partly and not convention and 0.0 in [rule.decay for rule in pair]:
        convention = "weight-decay-excluded"
    others = {n: torch[n] for n in where}
    said += f" ({', '.join(where)})" if partly else ""
    return Difference(name, convention, said, partial(_all_applied, choice, others))


def _said(choice: _Choice, *rules: Rule) -> list[str]:
    """The settings of rules in words, with as many digits as it takes to tell them apart."""
    settings = choice.settings if choice.name in ("decay", "clip") else choice.settings[:1]
    for digits in (6, 10, 17):
        values = [" ".join(_word(getattr(rule, s), digits) for s in settings) for rule in rules]
        if len(set(values)) > 1:
            break
    return [value.strip() for value in values]


def _word(value: object, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _moved(rules: Rules) -> list[str]:
    return [name for name, rule in rules.items() if rule.kind != "none"]


def _all_applied(choice: _Choice, torch: Rules, rules: Rules) -> Rules:
    return {n: choice.applied(r, torch[n]) if n in torch else r for n, r in rules.items()}


def _untrained(keras: Rules, torch: Rules, names: Sequence[str]) -> Difference:
    side = "Torch" if torch[names[0]].kind == "none" else "Keras"
    said = f"no optimizer moves {', '.join(names)} in {side}"

    def rules(keras: Rules) -> Rules:
        return {n: torch[n] if n in names else rule for n, rule in keras.items()}

    return Difference("trained", "", said, rules)


# Names.

_TORCH_RATES = {"adamax": 2e-3, "nadam": 2e-3, "rmsprop": 1e-2, "adagrad": 1e-2, "adadelta": 1.0}
"""Default learning rates of Torch where they are not Keras' 0.001."""

DEFAULTS: Mapping[tuple[str, str], tuple[float, float]] = {
    **{(kind, "rate"): (1e-3, rate) for kind, rate in _TORCH_RATES.items()},
    ("rmsprop", "beta_2"): (0.9, 0.99),
    ("adadelta", "beta_2"): (0.95, 0.9),
    ("nadam", "epsilon"): (1e-7, 1e-8),
    ("adadelta", "epsilon"): (1e-7, 1e-6),
    ("adagrad", "accumulator"): (0.1, 0.0),
    ("adam", "decay"): (4e-3, 1e-2),
}
"""Kind of an optimizer and setting → default in Keras and in Torch, where they differ."""


def _are_defaults(setting: str, keras: Rule, torch: Rule) -> bool:
    defaults = DEFAULTS.get((keras.kind, setting), (np.nan, np.nan))
    values = getattr(keras, setting), getattr(torch, setting)
    return bool(np.allclose(values, defaults, rtol=_FLOAT32, atol=0.0))


def _default(setting: str) -> Callable[[Rule, Rule], str]:
    return lambda k, t: "optimizer-defaults" if _are_defaults(setting, k, t) else ""


def _rate(keras: Rule, torch: Rule) -> str:
    apart = abs(keras.rate - torch.rate)
    if keras.schedule and torch.schedule and apart <= _SCHEDULE_ROUNDING * abs(torch.rate):
        return "schedule-float32"
    if {keras.schedule, torch.schedule} - {"", BY_HAND}:
        # A schedule that was left out, or that waits, takes none but rates of the other side.
        shared = _takes_rates_of(keras, torch) or _takes_rates_of(torch, keras)
        return "learning-rate-schedule" if shared else ""
    # What nobody set is Torch's default.
    if keras.kind == torch.kind == "sgd" and np.isclose(torch.rate, 1e-3, rtol=_FLOAT32, atol=0.0):
        return "sgd-default-learning-rate"
    return _default("rate")(keras, torch)


def _takes_rates_of(one: Rule, other: Rule) -> bool:
    rates = np.array([*other.rates, *other.scheduled])
    return all(
        np.isclose(rate, rates, rtol=_SCHEDULE_ROUNDING, atol=0.0).any() for rate in one.rates
    )


def _epsilon(keras: Rule, torch: Rule) -> str:
    own = keras.kind in ("adam", "adamax", "rmsprop", "adagrad")
    return f"{keras.kind}-epsilon" if own else _default("epsilon")(keras, torch)


def _decay(keras: Rule, torch: Rule) -> str:
    if "coupled" in (keras.decay_form, torch.decay_form):
        return "weight-decay" if keras.decay_form != torch.decay_form else ""
    return _default("decay")(keras, torch)


def _always(name: str) -> Callable[[Rule, Rule], str]:
    return lambda keras, torch: name


_OF_A_KIND = (
    _Choice("momentum", ("momentum",), "momentum"),
    _Choice("nesterov", ("nesterov",), "nesterov"),
    _Choice("dampening", ("dampening",), "dampening", _always("sgd-dampening")),
    _Choice(
        "velocity",
        ("velocity",),
        "place of the rate",
        _always("sgd-learning-rate-change"),
        along=("previous_rate",),
    ),
    _Choice("beta_1", ("beta_1",), "beta_1", rounded=("power_1",)),
    _Choice("beta_2", ("beta_2",), "beta_2", _default("beta_2"), rounded=("power_2",)),
    _Choice("epsilon", ("epsilon",), "epsilon", _epsilon),
    _Choice("epsilon-place", ("epsilon_place",), "place of epsilon", _epsilon),
    _Choice("amsgrad", ("amsgrad",), "amsgrad"),
    _Choice("centered", ("centered",), "centered"),
    _Choice(
        "momentum-decay",
        ("momentum_decay",),
        "momentum_decay",
        _always("nadam-momentum-decay"),
        along=("product",),
    ),
    _Choice("accumulator", ("accumulator",), "initial accumulator", _default("accumulator")),
    _Choice("update", ("update",), "updates so far, with this one"),
    _Rounding(
        "rounded-momentum", ("momentum",), "rounded momentum", _always("sgd-momentum-float32")
    ),
    _Rounding(
        "rounded-powers",
        (),
        "rounded powers of the betas",
        _always("adam-beta-float32"),
        along=("corrections",),
        rounded=("power_1", "power_2"),
    ),
    _Rounding(
        "rounded-nadam",
        ("beta_1", "beta_2"),
        "rounded constants",
        _always("optimizer-float32"),
        along=("corrections", "product"),
        rounded=("0.96",),
    ),
    _Rounding(
        "rounded-accumulator",
        ("accumulator",),
        "rounded initial accumulator",
        _always("optimizer-float32"),
    ),
    _Choice(
        "corrections",
        ("corrections",),
        "dtype of corrections",
        _always("adam-beta-float32"),
        along=("product",),
    ),
)
"""Choices that mean the same on both sides only where both have the same kind of optimizer."""

_SHARED = (
    _Choice("rate", ("rate",), "learning rate", _rate, along=("schedule",)),
    _Choice("decay", ("decay", "decay_form"), "weight decay", _decay),
    _Rounding("rounded-decay", ("decay",), "rounded weight decay", _always("optimizer-float32")),
    _Choice("maximize", ("maximize",), "maximize"),
    _Choice("ema", ("ema", "ema_every"), "average of the weights"),
    _Choice(
        "clip",
        ("clip", "clip_at"),
        "clipping",
        _always("gradient-clipping"),
        along=("clip_epsilon",),
    ),
    _Choice("clip-epsilon", ("clip_epsilon",), "clipping", _always("clip-norm-epsilon")),
    _Choice("sparse", ("sparse",), "gradients as rows", _always("sparse-gradients")),
    _Choice("copies", ("copies",), "trained biases", _always("lstm-single-bias")),
)
"""Choices that any optimizer has."""

_ELSEWHERE = {setting for choice in _SHARED for setting in choice.settings}
_ELSEWHERE |= {"kind", "rounded", "accumulate", "position", "accumulated"}
_KIND = _Choice(
    "kind",
    ("kind",),
    "optimizer",
    _always("optimizer-kind"),
    along=tuple(field.name for field in fields(Rule) if field.name not in _ELSEWHERE),
    rounded=("power_1", "power_2", "0.96"),
)
"""Another kind of optimizer, with all that means something only within a kind."""


def _outside(keras: Rules) -> Iterator[list[Difference]]:
    """What Torch may do outside of its optimizer, otherwise than Keras does inside."""
    moved = [rule for rule in keras.values() if rule.kind != "none"]
    if any(rule.accumulate > 1 for rule in moved):
        every = max(rule.accumulate for rule in moved)
        yield [
            _accumulated(f"gradients: mean of {every} steps in Keras, {in_torch}", values)
            for in_torch, values in (
                ("their sum in Torch", {"accumulated": "sum"}),
                ("of each step in Torch", {"accumulate": 1, "position": 1}),
            )
        ]


def _accumulated(said: str, values: Mapping[str, object]) -> Difference:
    def rules(keras: Rules) -> Rules:
        return {
            n: rule if rule.kind == "none" else replace(rule, **values)  # type: ignore[arg-type]
            for n, rule in keras.items()
        }

    return Difference("accumulation", "gradient-accumulation", said, rules)
