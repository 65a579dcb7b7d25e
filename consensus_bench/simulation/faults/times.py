"""Times as people write them in scenarios: "10 s", "500 ms", "1.5s", or a bare number of seconds."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from consensus_bench.contract import ConfigError

_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000}
_TIME: Final = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(ns|us|ms|s|min)?\s*")


def parse_ns(text: str, name: str = "time") -> int:
    """Whole nanoseconds; ``ConfigError`` names ``name`` if ``text`` is no time."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ConfigError(f"{name} = '{text}' is no time: write it as in '10 s' or '500 ms'")
    number, unit = match.groups()
    return round(Decimal(number) * _UNITS[unit or "s"])


def time_text(time_ns: int) -> str:
    """The shortest exact way to write it."""
    if not time_ns:
        return "0 s"
    for unit in ("s", "ms", "us"):
        number = Decimal(time_ns) / _UNITS[unit]
        if number == number.quantize(Decimal("0.001")) and (abs(number) >= 1 or unit == "us"):
            return f"{number.normalize():f} {unit}"
    return f"{time_ns} ns"
