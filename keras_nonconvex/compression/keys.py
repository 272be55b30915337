"""What each key of a recipe may be, whatever the others are."""

import dataclasses
import difflib
import os

from keras_nonconvex import checks
from keras_nonconvex.pruning import planning
from keras_nonconvex.training import recovery
from tflite_export.precisions import PRECISIONS

# What trainings may compute in, beside float32.
POLICIES = ("mixed_float16", "mixed_bfloat16")
# {key: the least whole number}
_WHOLE_NUMBERS = {
    "size": 1,
    "epochs": 1,
    "patience": 1,
    "batch_size": 1,
    "latency_runs": 1,
    "representative_samples": 1,
    "total_epochs": 1,
    "fine_tune_epochs": 0,
    "qat_epochs": 0,
}
# {key: (what it must be, whether a number is that)}
_NUMBERS = {
    "learning_rate": ("a number > 0", lambda v: v > 0),
    "target": ("a number in (0, 1)", lambda v: 0 < v < 1),
    "within": ("a number >= 0", lambda v: v >= 0),
}
_BOOLEANS = (
    *("antialias", "train", "repair", "teacher", "keep_zeros"),
    "long_baseline",
)
_OBJECTS = (
    *("augment", "offline", "regularizers", "solver", "optimizer", "plan"),
    "fine_tune",
)
_TEXTS = ("name", "model", "dataset", "fit", "criterion", "sparse")
# {key: (its type, in words)}
_TYPES = {
    **dict.fromkeys(_BOOLEANS, (bool, "true or false")),
    **dict.fromkeys(_OBJECTS, (dict, "an object")),
    **dict.fromkeys(_TEXTS, (str, "a text")),
}
# What objects that are arguments of a function may hold.
_ARGUMENTS = {
    "plan": {*planning.plan.__kwdefaults__} - {"data"},
    "fine_tune": {
        *("optimizer", "learning_rate", "teacher_weight", "temperature"),
    },
}


def check_names(settings, known):
    """Refuses what is not a dict of keys.

    Args:
        settings: What is given for a recipe.
        known: The keys that there are, a list.
    """
    if not isinstance(settings, dict):
        raise ValueError(
            f"A recipe must be a JSON object. Received: {settings!r}"
        )
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            raise ValueError(
                f"A recipe has no key `{key}`.{hint} Known keys: "
                f"{', '.join(known)}. Received: {key}={settings[key]!r}"
            )


def typed(recipe):
    """Refuses values of other types.

    Args:
        recipe: A `Recipe` as it is given.

    Returns:
        A dict of the numbers, each in its type.
    """
    numbers = {}
    for field in dataclasses.fields(recipe):
        key, value = field.name, getattr(recipe, field.name)
        if value is None and field.default is None:
            continue
        if key in _WHOLE_NUMBERS:
            numbers[key] = checks.whole(key, value, _WHOLE_NUMBERS[key])
        elif key in _NUMBERS:
            numbers[key] = checks.number(key, value, *_NUMBERS[key])
        elif key in _TYPES:
            kind, words = _TYPES[key]
            require(key, value, isinstance(value, kind), words)
    return numbers


def check(recipe):
    """Refuses values that cannot work, of the right types.

    Args:
        recipe: A `Recipe` with a name.
    """
    name, given, seed = recipe.name, recipe.precisions, recipe.seed
    require(
        "name",
        name,
        name.strip(". ") and not {"/", os.sep} & set(name),
        "a name that can be a folder's",
    )
    require(
        "precisions",
        given,
        isinstance(given, (list, tuple))
        and "float32" in given
        and set(given) <= set(PRECISIONS)
        and len(set(given)) == len(given),
        f"a list of {', '.join(PRECISIONS)}, each at most once, that has "
        "'float32'",
    )
    if recipe.dtype_policy is not None:
        checks.choice("dtype_policy", recipe.dtype_policy, POLICIES)
    require(
        "seed",
        seed,
        isinstance(seed, int)
        and not isinstance(seed, bool)
        and 0 <= seed < 2**32,
        "a whole number from 0 to 2^32 - 1",
    )
    require(
        "optimizer",
        recipe.optimizer,
        "learning_rate" not in recipe.optimizer,
        "settings without the learning rate, which is a key of its own",
    )
    require(
        "offline",
        recipe.offline,
        recipe.offline is None or "dataset" in recipe.offline,
        "a dict of recipe keys, `dataset` among them",
    )
    _check_arguments(recipe)


def _check_arguments(recipe):
    for key, known in _ARGUMENTS.items():
        for name in getattr(recipe, key) or ():
            if name not in known:
                raise ValueError(
                    f"Recipe key `{key}` must be an object with some of "
                    f"the keys {', '.join(sorted(known))}. "
                    f"Received: {name!r}"
                )
    recovery.check(**recipe.fine_tune or {})


def require(key, value, legal, expected):
    """Raises a `ValueError` unless a value is legal.

    Args:
        key: The key.
        value: Its value.
        legal: Whether it is legal.
        expected: What it must be, in words.
    """
    if not legal:
        raise ValueError(
            f"Recipe key `{key}` must be {expected}. Received: {key}={value!r}"
        )
