"""The command line: options, progress, tables, exit codes. Imports no torch."""
