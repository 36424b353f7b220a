"""One renderer a file: a finished Autopsy in, text out."""
