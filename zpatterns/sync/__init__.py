"""The blocking world: thin classes over the machines in core and the blocking driver."""
