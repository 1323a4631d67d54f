"""The web page over an archive: an ASGI app that reads the archive and nothing else, and writes nothing."""
