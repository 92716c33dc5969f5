from typing import Any

# A tensor, or a number that the compiler turns into one.
base_value: Any
