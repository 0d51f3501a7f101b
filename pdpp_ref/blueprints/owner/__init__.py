"""What only the owner's pages need: formatting, charts and downloads."""
