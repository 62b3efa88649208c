"""MPC: Multi-view Pixel-wise Contrast (Lou et al., TIFS 2025, arXiv 2406.13565)."""
