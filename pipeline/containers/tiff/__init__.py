"""What a TIFF holds beside its pixels."""
