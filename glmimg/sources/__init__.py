"""Source pictures of edits: any file that can be read becomes the same prepared picture for both stages."""

from glmimg.sources.prepare import PreparedSource, prepare_source
from glmimg.sources.shelf import SourceShelf

__all__ = ["PreparedSource", "SourceShelf", "prepare_source"]
