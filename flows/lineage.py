"""Which export rows, parameters, code and commit made a file (in work)."""
