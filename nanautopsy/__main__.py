"""``python -m nanautopsy``."""

from __future__ import annotations

from nanautopsy.cli import main

if __name__ == "__main__":
    main()
