"""The rule by which an optimizer updates one weight in one step: every choice that enters it.

Both backends read it off a live optimizer, a trace keeps it as text, and
`compare.parity.optimizers` computes with it. Names are common to both frameworks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How one weight is updated in one step; what does not apply to its kind has its default.

    Attributes:
        kind: `"sgd"`, `"adam"`, `"adamax"`, `"nadam"`, `"rmsprop"`, `"adagrad"`, `"adadelta"` or
            `"lion"`; `"none"` for a weight that no optimizer moves.
        rate: Learning rate of this step, as the number that is computed with.
        previous_rate: That of the step before, where a velocity is kept without it; None where
            there was none, or none is wanted.
        schedule: What sets the rate from step to step, by name; empty for a constant.
        scheduled: Rates that a schedule begins or ends with.
        rates: Those of all steps of a trace, where the rule is one of several.
        update: Number of this update, from 1; 0 where the optimizer does not count.
        momentum: Share of the velocity that is kept (SGD, RMSprop).
        velocity: `"inside"`: the rate is in the velocity, `"outside"`: it multiplies it.
        nesterov: Whether the step looks ahead.
        dampening: Share of the gradient that does not enter an old velocity.
        maximize: Whether the weight goes up its gradient.
        beta_1: Share kept of the averaged gradient.
        beta_2: Share kept of the averaged square, or of the norm; `rho` and `alpha` elsewhere.
        epsilon: Stabiliser.
        epsilon_place: Where it is added. Adam: `"before"` or `"after"` the second moment is
            corrected. RMSprop, Adagrad: `"inside"` or `"outside"` the root. Adamax:
            `"quotient"` or `"maximum"`.
        amsgrad: Whether the largest second moment so far counts.
        centered: Whether the second moment is taken about the mean.
        momentum_decay: Nadam's, the factor of the step in the exponent of 0.96.
        product: Nadam's product of momenta, this update's included.
        accumulator: Value that Adagrad's accumulator starts from.
        decay: Weight decay.
        decay_form: `"decoupled"`: beside the step, `"coupled"`: in the gradient, `""`: none.
        clip: `"value"`, `"norm"` (of each gradient), `"global-norm"` (of all), `""`: none.
        clip_at: The bound.
        clip_epsilon: Added to the norm of all.
        accumulate: Steps whose gradients make up one update.
        position: Which of them this is, from 1.
        accumulated: `"mean"` or `"sum"` of their gradients.
        ema: Share kept by the moving average of the weight; None where there is no average.
        ema_every: Updates after which the weight is set to it; 0 for never.
        rounded: Constants that are rounded to float32 in whatever dtype: `"momentum"`,
            `"power_1"`, `"power_2"` (the betas in corrections), `"beta_1"`, `"beta_2"`, `"0.96"`,
            `"decay"`, `"accumulator"`.
        corrections: Dtype of the numbers that correct averages: `"weight"` or `"double"`.
        sparse: Whether the gradient came as rows that may occur several times.
        copies: Trained tensors of which this weight is the sum.
    """

    kind: str
    rate: float = 0.0
    previous_rate: float | None = None
    schedule: str = ""
    scheduled: Sequence[float] = ()
    rates: Sequence[float] = ()
    update: int = 0
    momentum: float = 0.0
    velocity: str = "inside"
    nesterov: bool = False
    dampening: float = 0.0
    maximize: bool = False
    beta_1: float = 0.0
    beta_2: float = 0.0
    epsilon: float = 0.0
    epsilon_place: str = ""
    amsgrad: bool = False
    centered: bool = False
    momentum_decay: float = 1.0
    product: float = 1.0
    accumulator: float = 0.0
    decay: float = 0.0
    decay_form: str = ""
    clip: str = ""
    clip_at: float = 0.0
    clip_epsilon: float = 0.0
    accumulate: int = 1
    position: int = 1
    accumulated: str = "mean"
    ema: float | None = None
    ema_every: int = 0
    rounded: Sequence[str] = ()
    corrections: str = "double"
    sparse: bool = False
    copies: int = 1

    def text(self) -> str:
        """As JSON, without what has its default."""
        defaults = {field.name: field.default for field in fields(self)}
        return json.dumps({k: v for k, v in asdict(self).items() if v != defaults[k]})


def read_rule(text: Any) -> Rule:
    """The rule that `Rule.text` wrote."""
    values = json.loads(str(text))
    sequences = {name: tuple(values.get(name, ())) for name in ("scheduled", "rounded")}
    return Rule(**{**values, **sequences})
