"""What shells and desktops are given: completion of the command line, and its manual page."""
