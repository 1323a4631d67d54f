"""The demo's last table: what came out of it, in words that need no manual."""

from collections.abc import Mapping
from typing import Any

from jobs.framework.output import Output
from pipeline.monitoring.formatting import duration, size


def report(
    pressed: Mapping[str, Any],
    verified: Mapping[str, Any],
    restored: Mapping[str, Any],
    status: Mapping[str, Any],
    *,
    seconds: float,
) -> None:
    """Print the table.

    Args:
        pressed: result of `maepress encode --json`.
        verified: of `verify`.
        restored: of `decode`.
        status: of `status`.
        seconds: that all of it took.
    """
    psnr = status["psnr"]
    fidelity = "nothing was pressed"
    if psnr["mean"] is not None:
        fidelity = f"{psnr['mean']:.1f} dB PSNR on average, {psnr['least']:.1f} dB at worst"
    rows = [
        ("objects", f"{status['rows'] + status['rejected']} in the source, {status['rows']} in the archive"),
        ("  pressed", f"{status['latents']}, coded by the model"),
        (
            "  kept",
            f"{status['originals'] + status['transcoded']}, without loss: of another kind, or no gain in pressing",
        ),
        ("  rejected", f"{status['rejected']}, unreadable: `maepress status` says why"),
        ("source", size(status["source_bytes"])),
        ("pressed", size(status["payload_bytes"])),
        ("ratio", f"{status['source_bytes'] / status['payload_bytes']:.1f} times smaller"),
        ("fidelity", fidelity),
        ("speed", f"{pressed['megapixels_per_second']:.2f} MP/s, all stages together"),
        ("verified", f"{verified['rows']} payloads read, {verified['decoded']} decoded, {verified['failed']} problems"),
        ("restored", f"{restored['written']} files, {restored['failed']} failed"),
        ("time", duration(seconds)),
    ]
    Output().table("\nwhat came out of it", rows)
