"""What a key of a configuration is for."""

from enum import Enum


class Kind(Enum):
    """What a key is for."""

    RESULT = "changes the result"  # part of the identity
    PLACE = "where and how a command runs"
    JUDGEMENT = "what a result is compared with"
    LABEL = "what people call it"


RESULT, PLACE, JUDGEMENT, LABEL = Kind
