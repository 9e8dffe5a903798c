"""Control characters, which names and captions may hold, as text that moves no cursor and colours nothing."""

from __future__ import annotations

CONTROL = {code: f"\\x{code:02x}" for code in [*range(0x20), *range(0x7F, 0xA0)]}  # for str.translate
