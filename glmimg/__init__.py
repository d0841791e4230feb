"""glmimg: the command line for GLM-Image, in two stages with a token file between them."""

__version__ = "0.1.0"
