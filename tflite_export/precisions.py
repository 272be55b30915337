"""The precisions of LiteRT files, and what still counts as equal in each."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What still counts as equal.

    Attributes:
        error: The relative error at most (`Parity.error`).
        agreement: Fraction of inputs with the same largest output, at least.
    """

    error: float
    agreement: float


# By the precision of the file; int16x8 and dynamic share their int8 weights.
LIMITS = {
    "float32": Limits(1e-4, 0.999),
    "float16": Limits(0.005, 0.99),
    "int16x8": Limits(0.05, 0.95),
    "dynamic": Limits(0.1, 0.95),
    "int8": Limits(0.2, 0.9),
}
