"""S3 Inventory as the listing of a bucket."""
