"""Exported files, run by real Arm code and compared with this machine."""
