"""Commands <-> frames, one file per protocol; plain data, no behaviour. Documented byte by byte in docs/wire.md."""
