"""The demo's last table: its results."""

from collections.abc import Mapping
from typing import Any

from jobs.framework.output import Output
from pipeline.monitoring.formatting import duration, size


def report(
    encoded: Mapping[str, Any],
    verified: Mapping[str, Any],
    restored: Mapping[str, Any],
    status: Mapping[str, Any],
    *,
    seconds: float,
) -> None:
    """Print the table.

    Args:
        encoded: result of `maepress encode --json`.
        verified: of `verify`.
        restored: of `decode`.
        status: of `status`.
        seconds: duration of the demo.
    """
    psnr = status["psnr"]
    fidelity = "nothing was compressed"
    if psnr["mean"] is not None:
        fidelity = f"{psnr['mean']:.1f} dB PSNR on average, {psnr['least']:.1f} dB at worst"
    rows = [
        ("objects", f"{status['rows'] + status['rejected']} in the source, {status['rows']} in the archive"),
        ("  compressed", f"{status['latents']}, by the model"),
        (
            "  kept",
            f"{status['originals'] + status['transcoded']}, lossless: of another kind, unreadable, or not smaller when "
            "compressed",
        ),
        ("  rejected", f"{status['rejected']}: `maepress status` names the reasons"),
        ("source", size(status["source_bytes"])),
        ("archive", size(status["payload_bytes"])),
        ("ratio", f"{status['source_bytes'] / status['payload_bytes']:.1f} times smaller"),
        ("fidelity", fidelity),
        ("speed", f"{encoded['megapixels_per_second']:.2f} MP/s, all stages together"),
        ("verified", f"{verified['rows']} payloads read, {verified['decoded']} decoded, {verified['failed']} problems"),
        ("restored", f"{restored['written']} files, {restored['failed']} failed"),
        ("time", duration(seconds)),
    ]
    Output().table("\nresults", rows)
