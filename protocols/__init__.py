"""The protocols: one file each, readable beside its paper. They know the contract and the standard library only."""
