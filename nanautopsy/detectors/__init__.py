"""One observation a file: a detector takes a Run and gives findings; it names no cause."""
