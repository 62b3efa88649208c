"""Scripts that make parts of the product: sizes and memory of networks, result tables, the page of perturbations."""
