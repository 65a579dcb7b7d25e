"""The simulated planet (SimPy): machines, links, disks, clients, and the protocols that run on it."""
