"""Scripts that run by path in processes of their own; no package imports."""
