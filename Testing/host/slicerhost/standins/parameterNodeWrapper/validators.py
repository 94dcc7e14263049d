"""What may stand beside a type in ``Annotated[...]``."""


class Default:
    """The value of a parameter that was never set."""

    def __init__(self, value):
        self.value = value


class WithinRange:
    """A number between two others, both allowed."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not between {self.minimum} and {self.maximum}.")


class Minimum(WithinRange):
    """A number that is not smaller than another."""

    def __init__(self, minimum):
        super().__init__(minimum, float("inf"))


class Maximum(WithinRange):
    """A number that is not greater than another."""

    def __init__(self, maximum):
        super().__init__(float("-inf"), maximum)


class Choice:
    """One of some values."""

    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}.")
