"""The assets, one file each, and what their materializations report."""
