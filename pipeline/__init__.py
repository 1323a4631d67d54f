"""How images move: list, fetch, read, encode, write, commit; train; decode; verify."""
