"""The steps of which views are made; leaf modules, as their code is part of the key of a stored result."""
