"""``python -m nanautopsy``."""

from nanautopsy.cli import main

main()
