"""`python -m glmimg`."""

from glmimg.cli.main import main

main()
