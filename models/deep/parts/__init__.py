"""Building blocks that several published networks share, one module each."""
