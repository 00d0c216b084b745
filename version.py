"""What this release is called."""

VERSION = "1.0.0"
