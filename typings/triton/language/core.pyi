from typing import Any

# A tensor, a number that the compiler turns into one, or a NamedTuple of the host with its names.
base_value: Any
