"""The quality that reaches a target: models of rate and fidelity, and the search over them."""
