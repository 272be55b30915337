"""The number by which the networks of a run are compared."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that says how good a network is.

    Args:
        name: A string: its key in metrics.json, and what Keras logs.
        higher: A boolean: whether more is better. It is then a share of 1,
            shown in percent, and differences are percentage points; those of
            other measures are percent of the measure.
    """

    name: str = "accuracy"
    higher: bool = True

    @property
    def words(self):
        """The name in words."""
        return self.name.replace("_", " ")

    @property
    def scale(self):
        """What the number is multiplied by to be shown."""
        return 100 if self.higher else 1

    @property
    def unit(self):
        """What differences are told in."""
        return "points" if self.higher else "%"

    def axis(self, split):
        """What stands at an axis, for the images of a split."""
        return f"{split} {self.words}{', %' if self.higher else ''}"

    def gain(self, value):
        """A number that is the greater the better."""
        return value if self.higher else -value

    def behind(self, value, whole):
        """How much worse a value is, in percentage points or in percent.

        Args:
            value: A number.
            whole: The number that it is compared with.
        """
        if self.higher:
            return 100 * (whole - value)
        return 100 * (value - whole) / max(abs(whole), 1e-12)

    def text(self, value):
        """A value for people."""
        return f"{100 * value:.2f} %" if self.higher else f"{value:.4g}"

    def change(self, value, whole):
        """A difference for people, such as "+0.42 points"."""
        sign = -1 if self.higher else 1
        return f"{sign * self.behind(value, whole):+.2f} {self.unit}"
