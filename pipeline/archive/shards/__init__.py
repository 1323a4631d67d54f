"""Shards: sorted Parquet files of rows, written, read and merged."""
