"""What a person types: options, progress, tables, exit codes. Imports no torch."""
