"""The tables' transaction logs: commits, their seals, and checks of both."""
