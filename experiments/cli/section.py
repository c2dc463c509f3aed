"""Types of values, and the kind of section that a schema is made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Accuracy = Annotated[float, Field(gt=0, le=1)]  # a fraction of the images
Margin = Annotated[float, Field(gt=0, lt=1)]  # a difference of two accuracies
Name = Annotated[str, Field(pattern=r"^[^\p{Cc}\p{Zl}\p{Zp}]*$")]  # one line, no escape codes
Text = Annotated[str, Field(min_length=1)]
Object = dict[str, Any]  # `_target_` and its arguments; checked by the signature of the target
OptionalObject = Annotated[Object | None, Field(default=None)]


class Section(BaseModel):
    """Keys with their types. No other key is accepted, and no value is converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
