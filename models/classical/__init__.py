"""Weight-free localizers, one file a method."""
