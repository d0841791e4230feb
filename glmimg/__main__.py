"""Where the program starts, also as `python -m glmimg`: catches Ctrl-C from its first line on."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; a Ctrl-C while its modules are still being imported leaves quietly with 130."""
    try:
        from glmimg.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
