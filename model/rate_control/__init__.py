"""Search for the quality that reaches a target, with models of rate and fidelity."""
