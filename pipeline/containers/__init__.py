"""What an image file holds beside its pixels: read strictly, kept as a skeleton, written back."""
