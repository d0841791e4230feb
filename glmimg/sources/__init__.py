"""Source pictures of edits: any file Pillow opens becomes the one picture both stages read."""

from glmimg.sources.prepare import PreparedSource, prepare_source
from glmimg.sources.shelf import SourceShelf

__all__ = ["PreparedSource", "SourceShelf", "prepare_source"]
