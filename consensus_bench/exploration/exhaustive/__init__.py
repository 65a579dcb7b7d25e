"""Every reachable state of a small configuration of a protocol: see docs/exploring.md."""
