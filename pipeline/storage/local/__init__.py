"""Folders of this machine as stores: their files and errors."""
