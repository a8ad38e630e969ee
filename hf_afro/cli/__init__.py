"""The command line: a thin layer over steps and recipes."""
