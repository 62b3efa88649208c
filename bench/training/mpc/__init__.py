"""The training of MPC: forgeries on the fly, two stages, validation, checkpoints."""
