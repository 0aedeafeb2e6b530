"""Making bundles: data, network, training, export. PyTorch lives here and nowhere else."""
