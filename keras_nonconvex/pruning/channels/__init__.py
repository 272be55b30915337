"""Channels: one id per channel of every tensor of a model."""
