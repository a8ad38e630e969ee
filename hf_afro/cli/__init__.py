"""The command line: one file a command, each a thin outer door to a worker of the library."""
