"""A plan as a drawing in the DOT language."""


def dot(plan):
    """The layers that make channels, those that are tied in one box.

    Args:
        plan: A `PruningPlan`.

    Returns:
        Text that `dot -Tsvg` draws.
    """
    entries = {entry.name: entry for entry in plan.layers}
    lines = ["graph channels {", '  node [shape=box, fontname="sans"];']
    for i, names in enumerate(_clusters(plan)):
        lines.append(f"  subgraph cluster_{i} {{")
        for name in names:
            full, kept = entries[name].channels
            shade = "lightgrey" if kept == full else "white"
            lines.append(
                f'    "{name}" [label="{name}\\n{kept} of {full}", '
                f"style=filled, fillcolor={shade}];"
            )
        lines.append("  }")
    return "\n".join([*lines, "}"])


def _clusters(plan):
    """Lists of the names of layers whose channels stay or go together."""
    seen = set()
    for entry in plan.layers:
        if entry.keep and entry.name not in seen:
            names = [entry.name, *plan.tied.get(entry.name, [])]
            names = [n for n in dict.fromkeys(names) if n not in seen]
            seen.update(names)
            yield names
