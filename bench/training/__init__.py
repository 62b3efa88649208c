"""The wing in which localizers are trained and MPC's claim is tested."""
