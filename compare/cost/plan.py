"""What `bn-compare time --self` is asked for, and what a part of it gives: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from compare import saved
from compare.errors import InputError, unknown
from compare.spec import VARIANTS, Settings

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "overhead": "what the judge leaves on the clock of the idiomatic pace",
        "study": "the default study at both paces, and its memory",
        "scaling": "cost against the number of seeds and of epochs",
        "bare": "the fast pace against a loop written by hand",
        "variants": "many seeds of every variant at both paces",
        "parity": "a network of 50 layers carried over and checked, in one process",
    }
)
"""Part → what it measures."""

BARE_VARIANTS = ("mlp-bn-after", "cnn-bn", "lstm-bn")
"""Those for which a loop is written by hand."""

OVERHEAD_TARGET, BARE_TARGET = 0.02, 1.3
PARITY_SECONDS_TARGET, PARITY_BYTES_TARGET = 90.0, 8 * 2**30

ONE_VARIANT = ("mlp-bn-after",)
DEEP = "resnet"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much each part trains.

    Attributes:
        overhead_epochs: Of every fit of `overhead`, at least 4.
        study_seeds: Seeds of the study at the fast pace.
        study_epochs: Its epochs.
        sampled_epochs: Epochs of its one seed at the idiomatic pace, at least 3.
        scaling_seeds: Numbers of seeds, at `study_epochs`.
        scaling_epochs: Numbers of epochs, at `study_seeds`.
        bare_epochs: Steady epochs of every fit of `bare`.
        bare_seeds: View of a variant → seeds of `bare`.
        many_seeds: View of a variant → seeds of `variants`.
        few_seeds: Seeds of `variants` at the idiomatic pace.
        few_epochs: View of a variant → their epochs, at least 3.
        parity_blocks: Blocks per stage of the residual network of `parity`.
        parity_width: Channels within a block of its first stage.
        parity_pixels: Height and width of its images.
        parity_samples: Its images.
    """

    overhead_epochs: int = 20
    study_seeds: int = 10
    study_epochs: int = 100
    sampled_epochs: int = 20
    scaling_seeds: tuple[int, ...] = (1, 10, 100, 1000)
    scaling_epochs: tuple[int, ...] = (10, 100, 1000)
    bare_epochs: int = 10
    bare_seeds: Mapping[str, int] = field(
        default_factory=lambda: {"vector": 100, "image": 10, "sequence": 10}
    )
    many_seeds: Mapping[str, int] = field(
        default_factory=lambda: {"vector": 100, "image": 10, "sequence": 100}
    )
    few_seeds: int = 3
    few_epochs: Mapping[str, int] = field(
        default_factory=lambda: {"vector": 100, "image": 20, "sequence": 100}
    )
    parity_blocks: tuple[int, ...] = (3, 4, 6, 3)
    parity_width: int = 64
    parity_pixels: int = 224
    parity_samples: int = 4


@dataclass(frozen=True, kw_only=True)
class CostPlan:
    """What is to be measured; checked when it is made.

    Attributes:
        parts: Names from `PARTS`, without repeats.
        variants: Names from `VARIANTS`; None for those that each part has by default.
        repetitions: Pairs of fits behind the ratios of `overhead` and `bare`.
        seeds: Seeds of `variants`; None for the default ones.
        sizes: How much each part trains.

    Raises:
        InputError: A value is unknown or out of range.
    """

    parts: tuple[str, ...] = tuple(PARTS)
    variants: tuple[str, ...] | None = None
    repetitions: int = 5
    seeds: int | None = None
    sizes: Sizes = field(default_factory=Sizes)

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError(f"no part named: expected at least one of {', '.join(PARTS)}.")
        for name in self.parts:
            if name not in PARTS:
                raise unknown("part", name, PARTS)
        if len(set(self.parts)) < len(self.parts):
            raise InputError(f"--parts names one twice: {', '.join(self.parts)}.")
        if self.variants is not None:
            Settings(variants=self.variants)
        if not isinstance(self.repetitions, int) or self.repetitions < 2:
            raise InputError(
                "--repetitions: expected a whole number of at least 2, for an interval, "
                f"received {self.repetitions!r}."
            )
        if self.seeds is not None:
            Settings(seeds=self.seeds)
            if "variants" not in self.parts:
                raise InputError(
                    "--seeds: expected for the part variants alone: name that in --parts, or leave "
                    "--seeds out."
                )
        if self.parts == ("bare",) and not self.of("bare"):
            raise InputError(
                f"--parts bare: expected one of {', '.join(BARE_VARIANTS)} in --variants, "
                "for which a bare loop is written."
            )

        if self.parts == ("parity",) and self.variants is not None:
            raise InputError("--variants: the part parity has a network of its own: leave it out.")

    def of(self, part: str) -> tuple[str, ...]:
        """The variants of a part, or the network that it has instead."""
        if part == "parity":
            return (DEEP,)
        if part == "bare":
            return tuple(v for v in self.variants or BARE_VARIANTS if v in BARE_VARIANTS)
        if self.variants is not None:
            return self.variants
        return ONE_VARIANT if part in ("overhead", "scaling") else tuple(VARIANTS)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The parts that there is something to measure for, in their order."""
        return tuple(name for name in PARTS if name in self.parts and self.of(name))

    def many(self, variant: str) -> int:
        """Seeds of a variant in `variants`."""
        return self.seeds or self.sizes.many_seeds[VARIANTS[variant].view]

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CostPlan:
        """The plan from what `to_dict` and JSON made.

        Raises:
            InputError: A field is missing, unknown, or cannot be used.
        """
        saved.check(values, {"sizes": dict}, "plan")
        sizes = saved.made(Sizes, values["sizes"], "plan, sizes")
        return saved.made(cls, {**values, "sizes": sizes}, "plan")


@dataclass(frozen=True)
class Part:
    """What a part gives.

    Attributes:
        name: A key of `PARTS`.
        rows: Its figures as JSON types, seconds and bytes.
        seconds: How long it took.
        other_cores: Mean number of cores that other programs kept busy meanwhile; None as long as
            the part is under way.
    """

    name: str
    rows: list[dict[str, Any]]
    seconds: float
    other_cores: float | None
