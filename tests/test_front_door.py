"""The front door: every argument of every public name is documented.

`help(knc.SparseGroupTL1)` must say what each argument is. The walk starts
from the `__all__` of both packages, so a new name is found by itself.
"""

import dataclasses
import inspect
import re
import types

import pytest

import keras_nonconvex as knc
import tflite_export
import tflite_export.qat

# Results that users read and never construct document `Attributes:`.
SECTIONS = ("Args:", "Attributes:")


def public(module, prefix, seen):
    """(dotted name, object) of a module's `__all__`, submodules included."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        dotted = f"{prefix}.{name}"
        if isinstance(thing, types.ModuleType):
            if thing.__name__ not in seen:
                seen.add(thing.__name__)
                yield from public(thing, dotted, seen)
                yield from listed(thing, dotted)
        elif callable(thing) and id(thing) not in seen:
            seen.add(id(thing))
            yield dotted, thing


def listed(module, prefix):
    """What a public module without `__all__` defines."""
    if hasattr(module, "__all__"):
        return
    for name, thing in vars(module).items():
        if name.startswith("_") or not callable(thing):
            continue
        if getattr(thing, "__module__", None) == module.__name__:
            yield f"{prefix}.{name}", thing


def documented(text):
    """{name: its text} of what the sections of a docstring explain."""
    entries = {}
    for section in SECTIONS:
        match = re.search(
            rf"^( *){section}\n((?:\1 +.*\n|\s*\n)+)", f"{text}\n", re.M
        )
        if match is None:
            continue
        body = match.group(2)
        indent = re.match(r"\n*( +)", body).group(1)
        for entry in re.split(rf"^{indent}(?=\S)", body, flags=re.M):
            names, colon, meaning = entry.partition(":")
            for name in re.split(r",| and ", names) if colon else ():
                entries[name.strip(" *`\n")] = meaning.strip()
    return entries


def entries_of(thing):
    """What the docstring of a function, or of a class, explains."""
    entries = documented(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        entries |= documented(inspect.getdoc(thing.__init__) or "")
    return entries


def parameters_of(thing):
    try:
        return inspect.signature(thing).parameters.values()
    except ValueError:
        return ()


def undocumented(thing):
    entries = entries_of(thing)
    return [p.name for p in parameters_of(thing) if p.name not in entries]


def without_default(thing):
    """The optional arguments whose default is not told."""
    entries = entries_of(thing)
    return [
        p.name
        for p in parameters_of(thing)
        if p.default is not p.empty
        and not re.search(r"[Dd]efault", entries.get(p.name, ""))
    ]


NAMES = {
    dotted: thing
    for package in (knc, tflite_export, tflite_export.qat)
    for dotted, thing in public(package, package.__name__, set())
}


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_documented(name):
    thing = NAMES[name]
    assert inspect.getdoc(thing), f"{name} has no docstring"
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return
    missing = undocumented(thing)
    assert not missing, f"{name} does not document {', '.join(missing)}"
    if "Attributes:" not in inspect.getdoc(thing):
        silent = without_default(thing)
        assert not silent, f"{name} hides the defaults of {', '.join(silent)}"
    for argument, meaning in entries_of(thing).items():
        assert not re.match(r"Of\b", meaning), f"{name}: what is {argument}?"


def test_the_walk_reaches_what_users_type():
    assert {
        "keras_nonconvex.SparseGroupTL1",
        "keras_nonconvex.penalties.SCAD",
        "keras_nonconvex.pruning.plan",
        "keras_nonconvex.pruning.criteria.LossRise",
        "keras_nonconvex.callbacks.StrengthSchedule",
        "keras_nonconvex.models.resnet",
        "tflite_export.convert",
        "tflite_export.qat.train",
    } <= NAMES.keys()


def test_an_undocumented_argument_is_found():
    def function(first, second=1, third=2):
        """Does it.

        Args:
            first: A number.
            third: A number.
        """

    @dataclasses.dataclass
    class Row:
        """A row.

        Attributes:
            name, size: Both are told.
        """

        name: str
        size: int

    assert undocumented(function) == ["second"]
    assert without_default(function) == ["second", "third"]
    assert undocumented(Row) == []
