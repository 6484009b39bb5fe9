"""Wrong ports of optimizers and of what acts on weights beside them."""

from types import SimpleNamespace

import keras
import torch
from keras import layers as K
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from wrong_ports.layers import OF_IMAGES, Images, conv, images
from wrong_ports.wrong import Wrong, compiled, done, keywords, mlp, port, value

O = keras.optimizers  # noqa: E741
STRICT = {"strict": True}
"""Of what Torch has no setting for, and is accepted otherwise."""


def one():
    return nn.Sequential(nn.Linear(5, 2))


def trained(ours):
    return lambda: compiled(K.Dense(2, name="b"), optimizer=ours)


def stepping(ours, theirs, remedied, **options):
    """A layer that Keras' optimizer and Torch's train."""
    return Wrong(trained(ours), one, optimizer=theirs, remedied=remedied, options=options)


def set_otherwise(ours, kind, *, options=None, **wrong):
    """The remedy is an argument of the optimizer."""

    def made(p, *codes):
        return kind(p, **{**wrong, **keywords(", ".join(codes))})

    def remedied(*codes):
        return {"optimizer": lambda p: made(p, *codes)}

    return stepping(ours, made, remedied, **(options or {}))


def beside(make, act, when="pre"):
    """An optimizer beside whose steps something happens."""

    def optimizer(p):
        made = make(p)

        @torch.no_grad()
        def hook(stepped, args, options):
            act(stepped)

        getattr(made, f"register_step_{when}_hook")(hook)
        return made

    return optimizer


def weights(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def of_every_weight(code, **names):
    def act(optimizer):
        norm = sum(p.grad.square().sum() for p in weights(optimizer)) ** 0.5
        for p in weights(optimizer):
            done(code, p=p, norm=norm, lr=optimizer.param_groups[0]["lr"], **names)

    return act


def at_once(code):
    def act(optimizer):
        done(code, model=SimpleNamespace(parameters=lambda: weights(optimizer)))

    return act


def plain(p, lr=0.125, **options):
    return optim.SGD(p, lr=lr, **options)


def clipping(act, **bound):
    return stepping(
        lambda: O.SGD(0.125, **bound),
        plain,
        lambda code: {"optimizer": beside(plain, act(code))},
    )


def coupled(p, weight_decay=0.125):
    return optim.Adam(p, lr=0.125, eps=1e-7, weight_decay=weight_decay)


def excluding():
    optimizer = O.AdamW(0.125, weight_decay=0.125)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def adamw(p, weight_decay=0.125):
    return optim.AdamW(p, lr=0.125, eps=1e-7, weight_decay=weight_decay)


def in_groups(code):
    def optimizer(p):
        listed = list(p)
        spared = [p for p in listed if p.ndim == 1]
        decayed = [p for p in listed if p.ndim > 1]
        return adamw(value(code, decayed=decayed, spared=spared))

    return {"optimizer": optimizer}


def adam(p, **options):
    return optim.Adam(p, lr=0.125, **options)


def corrected(code):
    """Adam whose epsilon is set before every step."""

    def act(stepped):
        (group,) = stepped.param_groups
        steps = [int(state["step"]) for state in stepped.state.values()]
        done(code, group=group, beta2=group["betas"][1], t=max(steps, default=0) + 1)

    return beside(adam, act)


def piecewise(first, then):
    return O.schedules.PiecewiseConstantDecay([0], [first, then])


def scheduled(first, then, rounded=lambda rate: rate, momentum=0.0, make=plain):
    """SGD at one rate for a step, and at another from then on."""

    def optimizer(p):
        made = make(p, lr=1.0, momentum=momentum)
        scheduler = LambdaLR(made, lambda step: rounded(then if step else first))
        return {
            "optimizer": made,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    return optimizer


def per_epoch(p, schedule=lambda scheduler: scheduler):
    made = optim.SGD(p, lr=0.125)
    scheduler = LambdaLR(made, lambda step: 0.5 if step else 1.0)
    return {"optimizer": made, "lr_scheduler": schedule(scheduler)}


def per_step(code):
    return {"optimizer": lambda p: per_epoch(p, lambda s: value(code, scheduler=s))}


def at_the_change(code):
    """Buffers that change with the rate."""

    def made(p, **options):
        rates = []

        def act(sgd):
            rates.append(sgd.param_groups[0]["lr"])
            for state in sgd.state.values():
                old, new = rates[-2:]
                if old != new:
                    done(code, state=state, old=old, new=new)

        return beside(lambda p: optim.SGD(p, **options), act)(p)

    return {"optimizer": scheduled(0.125, 0.0625, momentum=0.5, make=made)}


class Accumulating(optim.SGD):
    """Gradients of two steps, added up; `code` says what to make of their sum."""

    def __init__(self, p, code):
        super().__init__(p, lr=0.125)
        self.code, self.calls, self.kept = code, 0, {}

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.calls += 1
        for p in weights(self):
            self.kept[p] = self.kept.get(p, 0.0) + p.grad
        if self.calls % 2 == 0:
            for p in weights(self):
                done(self.code, p=p, total=self.kept.pop(p))
            super().step()
        return loss


def accumulating(code):
    return {"optimizer": lambda p: Accumulating(p, code)}


def bounded(code, number=2):
    """One weight is bounded after every step: by default that of the second layer."""

    def act(optimizer):
        done(code, weight=weights(optimizer)[number])

    return {"optimizer": beside(plain, act, "post")}


def constrained(constraint):
    return Wrong(mlp(kernel_constraint=constraint), port, remedied=bounded)


ACCUMULATED = lambda: O.SGD(0.125, gradient_accumulation_steps=2)  # noqa: E731

OPTIMIZERS = {
    "constraint-axis": constrained(keras.constraints.MaxNorm(0.5)),
    "constraint-axis: UnitNorm": constrained(keras.constraints.UnitNorm()),
    "constraint-axis: of images": Wrong(
        images(conv(kernel_constraint=keras.constraints.MaxNorm(0.5, axis=[0, 1, 2]))),
        lambda: Images(nn.Conv2d(3, 4, 3)),
        *OF_IMAGES,
        remedied=lambda code: bounded(code, 0),
    ),
    "constraint-axis: NonNeg": constrained(keras.constraints.NonNeg()),
    "gradient-clipping": clipping(of_every_weight, clipnorm=0.01),
    "gradient-clipping: of all": clipping(at_once, global_clipnorm=0.01),
    "gradient-clipping: by value": clipping(of_every_weight, clipvalue=0.01),
    "clip-norm-epsilon": stepping(
        lambda: O.SGD(0.125, global_clipnorm=0.01),
        beside(plain, lambda sgd: nn.utils.clip_grad_norm_(weights(sgd), 0.01)),
        lambda code: {"optimizer": beside(plain, of_every_weight(code))},
        **STRICT,
    ),
    "sgd-default-learning-rate": set_otherwise(lambda: O.SGD(0.125), optim.SGD),
    "sgd-momentum-float32": set_otherwise(
        lambda: O.SGD(0.125, momentum=0.9), plain, momentum=0.9, options=STRICT
    ),
    "sgd-dampening": set_otherwise(
        lambda: O.SGD(0.125, momentum=0.5), plain, momentum=0.5, dampening=0.5
    ),
    "sgd-learning-rate-change": stepping(
        lambda: O.SGD(piecewise(0.125, 0.0625), momentum=0.5),
        scheduled(0.125, 0.0625, momentum=0.5),
        at_the_change,
        steps=3,
        **STRICT,
    ),
    "learning-rate-schedule": stepping(lambda: O.SGD(piecewise(0.125, 0.0625)), plain, per_step),
    "learning-rate-schedule: by epoch": stepping(
        lambda: O.SGD(piecewise(0.125, 0.0625)), per_epoch, per_step
    ),
    "schedule-float32": stepping(
        lambda: O.SGD(piecewise(0.1, 0.05)),
        scheduled(0.1, 0.05),
        lambda code: {"optimizer": scheduled(0.1, 0.05, lambda rate: value(code, rate=rate))},
        **STRICT,
    ),
    "optimizer-kind": Wrong(
        mlp(),
        port,
        optimizer=lambda p: optim.Adam(p, lr=0.125),
        remedied=lambda code: {"optimizer": lambda p: value(code)(p, lr=0.125)},
    ),
    "weight-decay": stepping(
        lambda: O.AdamW(0.125, weight_decay=0.125),
        coupled,
        lambda arguments, code: {
            "optimizer": beside(lambda p: coupled(p, **keywords(arguments)), of_every_weight(code))
        },
    ),
    "weight-decay-excluded": stepping(excluding, adamw, in_groups),
    "optimizer-float32": stepping(
        lambda: O.AdamW(0.125, weight_decay=0.1),
        lambda p: adamw(p, 0.1),
        lambda code: {"optimizer": lambda p: adamw(p, value(code, value=0.1))},
        allow=["adam-epsilon", "adam-beta-float32"],
        **STRICT,
    ),
    "adam-epsilon": stepping(
        lambda: O.Adam(0.125),
        adam,
        lambda eps, exactly: {"optimizer": lambda p: adam(p, **keywords(eps))},
    ),
    "adam-epsilon: to the last bit": stepping(
        lambda: O.Adam(0.125),
        lambda p: adam(p, eps=1e-7),
        lambda eps, exactly: {"optimizer": corrected(exactly)},
        allow=["adam-beta-float32"],
        **STRICT,
    ),
    "adamax-epsilon": set_otherwise(lambda: O.Adamax(0.125), optim.Adamax, lr=0.125),
    "rmsprop-epsilon": set_otherwise(lambda: O.RMSprop(0.125), optim.RMSprop, lr=0.125, alpha=0.9),
    "adagrad-epsilon": set_otherwise(
        lambda: O.Adagrad(0.125), optim.Adagrad, lr=0.125, initial_accumulator_value=0.1
    ),
    "nadam-momentum-decay": set_otherwise(lambda: O.Nadam(0.125), optim.NAdam, lr=0.125, eps=1e-7),
    "optimizer-defaults": set_otherwise(lambda: O.RMSprop(), optim.RMSprop, alpha=0.9, eps=1e-7),
    "gradient-accumulation": stepping(ACCUMULATED, plain, accumulating),
    "gradient-accumulation: the sum": stepping(
        ACCUMULATED, lambda p: Accumulating(p, "p.grad = total"), accumulating
    ),
}

AT_DEFAULTS = {
    "AdamW": (O.AdamW, optim.AdamW),
    "RMSprop": (O.RMSprop, optim.RMSprop),
    "Adagrad": (O.Adagrad, optim.Adagrad),
    "Adamax": (O.Adamax, optim.Adamax),
    "Nadam": (O.Nadam, optim.NAdam),
    "Adadelta": (O.Adadelta, optim.Adadelta),
    "SGD": (lambda: O.SGD(momentum=0.9), lambda p, **o: optim.SGD(p, **{"momentum": 0.9, **o})),
}
"""Optimizers with all that they are set to by default."""
