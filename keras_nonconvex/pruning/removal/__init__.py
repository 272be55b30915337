"""Removal: masked and small models of a choice of channel classes."""
