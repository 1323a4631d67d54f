"""Building blocks of the networks: residual blocks, exact fixed-point layers, parameters by quality."""
