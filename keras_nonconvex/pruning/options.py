"""The arguments of `plan`: which are legal, and what None stands for."""

import dataclasses

from keras_nonconvex import checks
from keras_nonconvex.pruning import budgets
from keras_nonconvex.pruning import criteria


@dataclasses.dataclass
class Options:
    """The checked arguments of `plan`, where None means a default."""

    criterion: object
    budget: dict | None
    round_to: int | None
    data: tuple | None
    combine: str | None
    per: str | None
    ranking: str
    min_channels: int
    max_ratio: float
    exclude: tuple
    on_constant: str
    select: bool
    max_rise: float | None

    def __post_init__(self):
        check(self.criterion, self.budget, self.round_to, self.max_rise)
        checks.choice("per", self.per, ["auto", "macs", "params", None])
        checks.choice("ranking", self.ranking, ["global", "layer"])
        checks.choice(
            "on_constant", self.on_constant, ["carry", "keep", "fold"]
        )
        checks.whole("min_channels", self.min_channels, 0)
        self.max_ratio = checks.number(
            "max_ratio",
            self.max_ratio,
            "a number in [0, 1]",
            lambda v: 0 <= v <= 1,
        )
        target = self.budget is not None or self.max_rise is not None
        self.criterion = self.criterion or _usual(target, self.data)
        self.round_to = self.round_to or (8 if target else 1)
        self.budget = self.budget or {}

    @property
    def divisor(self):
        """What scores are divided by: "macs", "params" or None."""
        if self.per != "auto":
            return self.per
        if not criteria.estimates_loss(self.criterion):
            return None
        divisors = [_DIVISORS.get(key) for key in self.budget]
        return next((key for key in divisors if key), None)


def _usual(target, data):
    """The name of the criterion where none is given."""
    if not target:
        return "zeros"
    return "group_norm" if data is None else "output_change"


# What removing a channel saves of a budget's key, where it can be counted.
_DIVISORS = {
    "macs": "macs",
    "latency": "macs",
    "params": "params",
    "size": "params",
}


def check(criterion, budget, round_to, max_rise=None):
    """Refuses arguments of `plan` that cannot work for any model."""
    known = ["zeros", *criteria.REGISTRY]
    target = budget is not None or max_rise is not None
    named = criterion is not None
    if named and not callable(criterion) and criterion not in known:
        raise ValueError(
            f"Argument `criterion` must be one of {', '.join(known)} or a "
            f"function. Received: criterion={criterion!r}"
        )
    if named and (criterion == "zeros") == target:
        raise ValueError(
            "A budget needs a criterion that ranks channels, such as "
            "'group_norm', and such a criterion needs a budget or `max_rise`. "
            f"Received: criterion={criteria.name_of(criterion)!r}, "
            f"budget={budget!r}"
        )
    if budget is not None:
        budgets.check(budget)
    if max_rise is not None:
        checks.number("max_rise", max_rise, "a number >= 0", lambda v: v >= 0)
    if round_to is not None:
        checks.whole("round_to", round_to, 1)
