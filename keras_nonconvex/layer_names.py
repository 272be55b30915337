"""Names of layers: what a pattern means, and what stands in messages."""

import difflib
import fnmatch


def matches(pattern, path):
    """Whether a pattern means a layer.

    Args:
        pattern: A string with shell wildcards, for the layer's own name
            (`"conv*"`) or for its whole path (`"backbone/conv*"`).
        path: The layer's name after those of the models around it,
            `"backbone/conv1"`.
    """
    # "conv*" does not mean "conv_base/head".
    name = path if "/" in pattern else path.rpartition("/")[2]
    return fnmatch.fnmatchcase(name, pattern)


def near(wanted, paths, count=3):
    """The names that are most like one that does not exist, as a sentence.

    Args:
        wanted: A string: a name, a path or a pattern of them.
        paths: Strings, the names that exist.
        count: An integer, how many to tell. Defaults to `3`.

    Returns:
        A string such as `"Near names: conv1, conv2."`.
    """
    match = difflib.SequenceMatcher(b=wanted.strip("*?"), autojunk=False)

    def likeness(path):
        ratios = []
        for name in {path, path.rpartition("/")[2]}:
            match.set_seq1(name)
            ratios.append(match.ratio())
        return max(ratios)

    nearest = sorted(dict.fromkeys(paths), key=likeness, reverse=True)
    return f"Near names: {', '.join(nearest[:count]) or 'none'}."


def some(listed, count=5):
    """The first names of a list, and how many more there are.

    Args:
        listed: Strings; of equal ones the first counts.
        count: An integer, how many to tell. Defaults to `5`.
    """
    listed = list(dict.fromkeys(listed))
    more = len(listed) - count
    text = ", ".join(listed[:count])
    return f"{text} and {more} more" if more > 0 else text
