"""The command `textgan verify-extractor`: do a user's weights reproduce published values on this machine?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from textgan.errors import UserError


def verify_extractor(
    weights: Annotated[Path, typer.Argument(help="Inception's state dict: .safetensors or .pth")],
) -> None:
    """Compare values that were published for Inception with what these weights give here; say what to put in params."""
    from textgan.files import sha256_file
    from textgan.metrics.supplied import InceptionExtractor
    from textgan.params import WeightsParams

    if not weights.is_file():
        raise UserError(f"{weights}: no such file")
    digest = sha256_file(weights)
    extractor = InceptionExtractor(WeightsParams(path=str(weights), sha256=digest))
    for check in extractor.reference:
        print(
            f"{check.what}: {check.found:.4f}; published {check.published:g}, within {check.tolerance:.0%}:"
            f" {'yes' if check.holds else 'no'}"
        )
    if not extractor.verified:
        raise UserError(f"{weights}: the published values are not reproduced; numbers made with it say unverified")
    print(f"verified. In params.yaml, evaluate:\n  weights:\n    inception: {{path: {weights}, sha256: {digest}}}")
