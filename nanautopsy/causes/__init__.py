"""One cause a file, named as its id. The module docstring is the page that explains it."""
