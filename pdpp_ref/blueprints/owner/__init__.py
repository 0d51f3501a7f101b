"""Only for the owner's pages: formatting, charts and downloads."""
