"""What `repair` did, layer by layer."""

import dataclasses

from keras_nonconvex import terminal

# So many layers are shown, unless more are asked for.
_SHOWN = 12


@dataclasses.dataclass
class Refit:
    """What `repair` did with one layer.

    Attributes:
        name: The layer's name; "model/layer" for a layer of a nested model.
        before: Which share of the variance of its target the layer explained
            on samples held out: 1 is all, and it may be negative. What a ReLU
            behind it cuts off counts as cut off. None where the layer was not
            looked at.
        after: The same once it is refitted.
        kept: Why the layer keeps its weights; "" if it was refitted.
    """

    name: str
    before: float | None = None
    after: float | None = None
    kept: str = ""


class Report(list):
    """A list of `Refit`, one per layer with weights; prints as a table.

    The table shows the layers that changed most and counts the others.
    """

    def table(self, most=_SHOWN):
        """The report as a table that rich can print.

        Args:
            most: How many layers it shows, an int >= 0. Defaults to `12`.
        """
        refitted = [entry for entry in self if not entry.kept]
        widest = sorted(refitted, key=lambda e: e.before - e.after)[:most]
        made = terminal.table("layer", "before", "after")
        for entry in refitted:
            if any(entry is one for one in widest):
                made.add_row(
                    terminal.Name(entry.name),
                    *(f"{s:.1%}" for s in (entry.before, entry.after)),
                )
        left = len(refitted) - len(widest)
        notes = [f"{left} more changed less."] if left else []
        kept = {}
        for entry in self:
            if entry.kept:
                kept.setdefault(entry.kept, []).append(entry.name)
        for why, names in kept.items():
            names = names[:3] + ["..."] * (len(names) > 3)
            notes.append(f"Not refitted, {why}: {', '.join(names)}.")
        return terminal.titled(
            f"{len(refitted)} of {len(self)} layers refitted: share of the "
            "dense model's variance that they explain",
            made,
            " ".join(notes),
        )

    def __str__(self):
        return terminal.render(self.table(), width=80)
