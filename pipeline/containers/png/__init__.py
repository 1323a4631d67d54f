"""What a PNG holds beside its pixels."""
