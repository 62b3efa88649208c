"""Published networks, one file or folder each."""
