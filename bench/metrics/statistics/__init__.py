"""What is kept of a view, one statistic per file; leaf modules, as their code is part of the key of a result."""
