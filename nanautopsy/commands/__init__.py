"""The commands, one a file. Heavy imports happen inside them."""
