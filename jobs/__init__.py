"""The command line, the web pages and the demo: what a person or a scheduler starts."""
