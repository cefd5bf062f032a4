"""Comparison with golden vectors: asserts the manifest's tolerance and reports the measured difference."""

import json
import os
from pathlib import Path

import torch
from torch import Tensor

MANIFEST = {
    case["name"]: case
    for case in json.loads((Path(__file__).parent / "golden" / "manifest.json").read_text())["cases"]
}


def report(case: str, what: str, tolerance: str, measured: float) -> None:
    """Print one row of the parity table; append it to $STEPAUDIO_PARITY (JSON lines) when that is set."""
    print(f"parity {case}: {what}: {measured:.3g} (tolerance {tolerance})")
    if target := os.environ.get("STEPAUDIO_PARITY"):
        row = {"case": case, "what": what, "tolerance": tolerance, "max_diff": measured}
        with open(target, "a") as stream:
            stream.write(json.dumps(row) + "\n")


def check(case: str, what: str, got: Tensor, want: Tensor) -> None:
    """Assert ``got`` agrees with ``want`` at the manifest's tolerance for ``case``."""
    assert got.shape == want.shape, f"{case} {what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    tolerance = MANIFEST[case]["tolerance"]
    difference = (got.double() - want.double()).abs().max().item() if want.numel() else 0.0
    report(case, what, f"atol {tolerance['atol']:g}, rtol {tolerance['rtol']:g}", difference)
    torch.testing.assert_close(got, want, **tolerance)


def check_ids(case: str, what: str, got: Tensor, want: Tensor, allowed: float = 0.0) -> None:
    """Assert at most the fraction ``allowed`` of the ids differ."""
    assert got.shape == want.shape, f"{case} {what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    fraction = (got.long() != want.long()).double().mean().item()
    report(case, what, f"{allowed:.0%} of ids differ" if allowed else "equal ids", fraction)
    assert fraction <= allowed
