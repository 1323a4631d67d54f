"""What a JPEG holds beside its pixels."""
