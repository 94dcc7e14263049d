"""What each network may be built with: told without torch, and before anything is cropped or rendered.

Names and defaults are those of the constructors in :mod:`.networks`, :mod:`.refiner` and :mod:`.calcium_net`; a test
holds them together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

_Count = Annotated[int, Field(strict=True, gt=0)]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _WithHeads(_Arguments):
    """What every network that looks at a crop may be given: the heart as a second channel, and two more heads."""

    in_channels: Literal[1, 2] = 1
    heart: StrictBool = False
    coronary: StrictBool = False


class CoarseArguments(_Arguments):
    """Of :class:`.networks.Coarse`."""

    channels: tuple[_Count, ...] = Field((8, 16, 32, 64, 128), min_length=2)


class StudentArguments(_WithHeads):
    """Of :class:`.networks.Student`: four stages, each twice as wide as the one before."""

    feature_size: _Count = Field(12, multiple_of=12)
    window_size: _Count = 4
    num_heads: tuple[_Count, ...] = Field((1, 2, 4, 8), min_length=4, max_length=4)
    depths: tuple[_Count, ...] = Field((2, 2, 2, 2), min_length=4, max_length=4)

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> StudentArguments:
        for stage, heads in enumerate(self.num_heads):
            if self.feature_size * 2**stage % heads:
                raise ValueError(
                    f"num_heads: {heads} does not divide the {self.feature_size * 2**stage} channels of stage "
                    f"{stage + 1}"
                )
        return self


class TeacherArguments(_WithHeads):
    """Of :class:`.networks.Teacher`."""

    channels: tuple[_Count, ...] = Field((8, 16, 32, 64, 128), min_length=2)


class UnetrArguments(_WithHeads):
    """Of :class:`.networks.Unetr`."""

    img_size: _Count = Field(64, multiple_of=16)
    feature_size: _Count = 8
    hidden_size: _Count = 144
    mlp_dim: _Count = 288
    num_heads: _Count = 6

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> UnetrArguments:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"num_heads: {self.num_heads} does not divide hidden_size {self.hidden_size}")
        return self


class RefinerArguments(_Arguments):
    """Of :class:`.refiner.Refiner`."""

    in_channels: Literal[1] = 1
    channels: tuple[_Count, ...] = Field((24, 48, 64), min_length=3, max_length=3)


class CalciumArguments(_Arguments):
    """Of :class:`.calcium_net.CalciumNet`."""

    in_channels: Literal[1] = 1
    channels: tuple[_Count, ...] = Field((24, 32, 40), min_length=3, max_length=3)


ARGUMENTS: dict[str, type[_Arguments]] = {
    "coarse": CoarseArguments,
    "student": StudentArguments,
    "teacher": TeacherArguments,
    "unetr": UnetrArguments,
    "refiner": RefinerArguments,
    "calcium": CalciumArguments,
}


def checked(task: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """``given`` as it is: what a configuration says is what enters its digest, defaults or not.

    Args:
        task: which network; None where that itself was refused, and nothing can be said of its arguments.

    Raises:
        ValueError: names the argument that the network does not have, or that has a value it cannot have.
    """
    if task is None:
        return given
    kind = ARGUMENTS[task]
    try:
        kind.model_validate(given)
    except ValidationError as error:
        unknown = [str(one["loc"][0]) for one in error.errors() if one["type"] == "extra_forbidden"]
        if unknown:
            known = ", ".join(kind.model_fields)
            raise ValueError(f"a {task} network has no {', '.join(unknown)}; it has {known}") from error
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
        message = message.replace("valid tuple", "list")
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {message}" if where else message) from error
    return given
