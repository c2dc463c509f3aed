"""Types of arguments, with their ranges, and constructors that take no others.

The configuration is checked by the same types before anything is built.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, validate_call


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("an odd number")
    return value


Positive = Annotated[int, Field(ge=1)]
Odd = Annotated[Positive, AfterValidator(_odd)]
Sizes = Sequence[Positive]
Probability = Annotated[float, Field(ge=0, lt=1)]

# a constructor that raises ValueError where an argument is not what its annotation says
checked = validate_call(
    config=ConfigDict(strict=True, allow_inf_nan=False, hide_input_in_errors=True)
)
