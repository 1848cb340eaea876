"""Processes in which training and generation run: here, on several GPUs, on a cluster."""
