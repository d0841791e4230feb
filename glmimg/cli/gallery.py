"""`glmimg gallery`: a gallery page of a folder's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from glmimg.choice import Output
from glmimg.cli.arguments import argument
from glmimg.cli.completing import any_file
from glmimg.cli.options import Request, only, takes
from glmimg.errors import BadInput

Folder = Annotated[str, argument("FOLDER", "A folder of pictures, or of a batch; a path or a URI.", any_file)]


@takes(only(Output, "as_json", "force", "quiet", "verbose"))
def gallery(request: Request, folder: Folder) -> None:
    """Make a gallery page of a folder's pictures.

    Writes index.html beside them, with thumbnails, settings, links and a filter. It works offline.

    \b
    Examples:
      glmimg gallery out/
    """
    from glmimg.engine.batch.folder import open_store
    from glmimg.engine.batch.gallery import write_gallery

    store = open_store(folder, make=False)
    if "://" not in folder and not Path(folder).is_dir():
        raise BadInput(folder, "is not there, or is not a folder")
    page = write_gallery(store, Path(folder).absolute().name or folder, force=request.settings(Output).force)
    request.console.result(page, {"page": page})
