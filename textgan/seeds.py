"""Seeds have names: randomness is a function of what it is for, never of call order."""

from __future__ import annotations

import hashlib


def derive_seed(root_seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named use, e.g. derive_seed(0, "caption", sample_key)."""
    text = "/".join(str(part) for part in (root_seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def unit_interval(root_seed: int, *names: str | int) -> float:
    """A number in [0, 1) for one named use; splits and seeded subsets compare it with fractions."""
    return derive_seed(root_seed, *names) / 2**63
