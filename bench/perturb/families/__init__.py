"""One file a family of perturbations; every function with the `step` decorator in a file of this folder is one."""
